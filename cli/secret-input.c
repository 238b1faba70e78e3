/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Terminal, file or descriptor in; sealed memfd out. */

#include "cli/secret-input.h"
#include "cli/cli.h"
#include "cli/output.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

/* What the daemon takes at most. */
#define SECRET_LIMIT ((gsize)64 * 1024)

/* Memory that is not swapped, not dumped, and wiped when it goes. */
typedef struct Buffer {
    char *data;
    gsize size;
} Buffer;

static bool buffer_init(Buffer *buffer, GError **error)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    buffer->size = 0;
    /* One more than the limit, to see that there is more. */
    void *data = mmap(NULL, SECRET_LIMIT + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "There is no memory for a secret");
        buffer->data = NULL;
        return false;
    }
    buffer->data = data;
    /* A user whose limit for locked memory is 0 still gets wiped memory. */
    mlock(data, SECRET_LIMIT + 1);
    madvise(data, SECRET_LIMIT + 1, MADV_DONTDUMP);
    return true;
}

static void buffer_clear(Buffer *buffer)
{
    if (!buffer->data)
        return;
    explicit_bzero(buffer->data, SECRET_LIMIT + 1);
    munmap(buffer->data, SECRET_LIMIT + 1);
    buffer->data = NULL;
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Buffer, buffer_clear)

static bool read_to_end(int fd, const char *what, Buffer *buffer, GError **error)
{
    while (buffer->size <= SECRET_LIMIT) {
        ssize_t n = read(fd, buffer->data + buffer->size, SECRET_LIMIT + 1 - buffer->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Reading the %s failed: %s", what,
                        g_strerror(errno));
            return false;
        }
        if (n == 0)
            return true;
        buffer->size += (gsize)n;
    }
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "The %s is longer than 64 KiB", what);
    return false;
}

static bool read_file(const char *file, const char *what, Buffer *buffer, GError **error)
{
    if (g_str_equal(file, "-"))
        return read_to_end(STDIN_FILENO, what, buffer, error);
    int fd = g_open(file, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Opening %s for the %s failed: %s", file, what,
                    g_strerror(errno));
        return false;
    }
    bool ok = read_to_end(fd, what, buffer, error);
    close(fd);
    return ok;
}

static volatile sig_atomic_t caught_signal;

static void catch_signal(int number)
{
    caught_signal = number;
}

/* The terminal while a secret is typed: no echo, and given back as it was whatever happens. */
typedef struct QuietTerminal {
    int fd;
    struct termios before;
    struct sigaction actions[4];
} QuietTerminal;

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP};

static bool quiet_begin(QuietTerminal *terminal)
{
    struct termios quiet;
    if (tcgetattr(terminal->fd, &terminal->before) != 0)
        return false;
    caught_signal = 0;
    /* Without SA_RESTART, so that the read ends and the terminal is put right before the signal takes effect.
     */
    const struct sigaction action = {.sa_handler = catch_signal};
    for (guint i = 0; i < G_N_ELEMENTS(caught); i++)
        sigaction(caught[i], &action, &terminal->actions[i]);
    quiet = terminal->before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    quiet.c_lflag |= ICANON | ISIG;
    return tcsetattr(terminal->fd, TCSAFLUSH, &quiet) == 0;
}

static void quiet_end(QuietTerminal *terminal)
{
    tcsetattr(terminal->fd, TCSAFLUSH, &terminal->before);
    for (guint i = 0; i < G_N_ELEMENTS(caught); i++)
        sigaction(caught[i], &terminal->actions[i], NULL);
    if (caught_signal)
        raise(caught_signal);
}

static void write_text(int fd, const char *text)
{
    /* A terminal that can't be written to shows nothing; the answer is still read. */
    if (write(fd, text, strlen(text)) < 0)
        return;
}

/* One line without its end. False when the person gave up (end of file, a signal). */
static bool read_line(int fd, Buffer *buffer)
{
    buffer->size = 0;
    while (buffer->size < SECRET_LIMIT && !caught_signal) {
        ssize_t n = read(fd, buffer->data + buffer->size, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        if (buffer->data[buffer->size] == '\n')
            return true;
        buffer->size++;
    }
    return false;
}

static bool ask(int terminal_fd, const char *prompt, Buffer *buffer)
{
    QuietTerminal terminal = {.fd = terminal_fd};
    g_autofree char *printable = output_printable(prompt);
    *printable = g_ascii_toupper(*printable);
    bool ok = quiet_begin(&terminal);
    if (ok) {
        write_text(terminal_fd, printable);
        write_text(terminal_fd, ": ");
        ok = read_line(terminal_fd, buffer);
        write_text(terminal_fd, "\n");
    }
    quiet_end(&terminal);
    return ok;
}

static bool ask_again(int terminal_fd, const SecretRequest *request, const Buffer *buffer, GError **error)
{
    g_auto(Buffer) second = {0};
    if (!buffer_init(&second, error))
        return false;
    g_autofree char *prompt = g_strdup_printf("%s (again)", request->what);
    if (ask(terminal_fd, prompt, &second) && second.size == buffer->size &&
        memcmp(second.data, buffer->data, buffer->size) == 0)
        return true;
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                "The two inputs for the %s are not the same; nothing was changed", request->what);
    return false;
}

static bool read_terminal(Client *client, const SecretRequest *request, Buffer *buffer, GError **error)
{
    int fd = client_is_asking(client) ? g_open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC, 0) : -1;
    if (fd < 0) {
        cli_set_usage_error(error,
                            "The %s is needed and can't be asked for here; give --%s-file=FILE or --%s-fd=N",
                            request->what, request->option, request->option);
        return false;
    }
    bool ok = ask(fd, request->what, buffer);
    if (!ok)
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "No %s was entered; nothing was changed",
                    request->what);
    else if (request->twice)
        ok = ask_again(fd, request, buffer, error);
    close(fd);
    return ok;
}

static int seal(const Buffer *buffer, GError **error)
{
    int fd = memfd_create("iothsm-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool ok = fd >= 0;
    for (gsize done = 0; ok && done < buffer->size;) {
        ssize_t n = write(fd, buffer->data + done, buffer->size - done);
        ok = n > 0;
        done += ok ? (gsize)n : 0;
    }
    ok = ok && lseek(fd, 0, SEEK_SET) == 0 &&
         fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
    if (ok)
        return fd;
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Handing the secret on in memory failed: %s",
                g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int secret_input(Client *client, const SecretSource *source, const SecretRequest *request, GError **error)
{
    if (source->file && source->fd >= 0) {
        cli_set_usage_error(error, "--%s-file and --%s-fd can't be given together", request->option,
                            request->option);
        return -1;
    }
    g_auto(Buffer) buffer = {0};
    if (!buffer_init(&buffer, error))
        return -1;
    bool ok;
    if (source->file)
        ok = read_file(source->file, request->what, &buffer, error);
    else if (source->fd >= 0)
        ok = read_to_end(source->fd, request->what, &buffer, error);
    else
        ok = read_terminal(client, request, &buffer, error);
    if (!ok)
        return -1;
    if (buffer.size == 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "The %s is empty; nothing was changed",
                    request->what);
        return -1;
    }
    return seal(&buffer, error);
}

bool secret_contains(int fd, const char *text)
{
    off_t size = lseek(fd, 0, SEEK_END);
    lseek(fd, 0, SEEK_SET);
    if (size <= 0)
        return false;
    void *data = mmap(NULL, (gsize)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return false;
    bool found = memmem(data, (gsize)size, text, strlen(text)) != NULL;
    munmap(data, (gsize)size);
    return found;
}
