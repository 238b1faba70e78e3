/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Children with pipes, and children on a pseudo-terminal. */

#include "tests/cli/run.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 60
#define ROWS 200

void run_free(Run *run)
{
    if (run == NULL)
        return;
    g_free(run->out);
    g_free(run->err);
    g_free(run);
}

static GPtrArray *split(const char *const *first, const char *line, va_list texts)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    const char *values[9];
    guint n = 0;
    for (const char *text; n < G_N_ELEMENTS(values) && (text = va_arg(texts, const char *)) != NULL; n++)
        values[n] = text;
    for (; *first != NULL; first++)
        g_ptr_array_add(argv, g_strdup(*first));
    g_assert_cmpuint(argv->len, >, 0);
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    for (guint i = 0; words[i] != NULL; i++) {
        char *mark = strchr(words[i], '$');
        guint number = mark != NULL && g_ascii_isdigit(mark[1]) ? (guint)(mark[1] - '1') : n;
        if (*words[i] == '\0')
            continue;
        if (mark == NULL) {
            g_ptr_array_add(argv, g_strdup(words[i]));
            continue;
        }
        g_assert_cmpuint(number, <, n);
        *mark = '\0';
        g_ptr_array_add(argv, g_strconcat(words[i], values[number], mark + 2, NULL));
    }
    g_ptr_array_add(argv, NULL);
    return argv;
}

static GPtrArray *split_iothsmctl(const char *line, va_list texts)
{
    return split((const char *const[]){g_getenv("IOTHSMCTL"), NULL}, line, texts);
}

static void become(gpointer uid)
{
    if (GPOINTER_TO_INT(uid) >= 0 &&
        (setgid((gid_t)GPOINTER_TO_INT(uid)) != 0 || setuid((uid_t)GPOINTER_TO_INT(uid)) != 0))
        _exit(126);
}

/* Another user may not reach the build folder (below /root, say): what is open already can be executed all
 * the same. */
static void execute_by_descriptor(GSubprocessLauncher *launcher, GPtrArray *argv)
{
    enum { TARGET = 9 };
    int program = open(argv->pdata[0], O_PATH | O_CLOEXEC);
    g_assert_cmpint(program, >=, 0);
    g_subprocess_launcher_take_fd(launcher, program, TARGET);
    g_free(argv->pdata[0]);
    argv->pdata[0] = g_strdup_printf("/proc/self/fd/%d", TARGET);
}

static Run *run(int uid, const char *input, GPtrArray *argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_subprocess_launcher_set_child_setup(launcher, become, GINT_TO_POINTER(uid), NULL);
    if (uid >= 0)
        execute_by_descriptor(launcher, argv);
    g_autoptr(GSubprocess) child =
        g_subprocess_launcher_spawnv(launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    Run *result = g_new0(Run, 1);
    g_subprocess_communicate_utf8(child, input, NULL, &result->out, &result->err, &error);
    g_assert_no_error(error);
    g_assert_true(g_subprocess_get_if_exited(child));
    result->status = g_subprocess_get_exit_status(child);
    return result;
}

Run *run_iothsmctl(const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(GPtrArray) argv = split_iothsmctl(line, texts);
    va_end(texts);
    return run(-1, "", argv);
}

Run *run_iothsmctl_as(int uid, const char *input, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(GPtrArray) argv = split_iothsmctl(line, texts);
    va_end(texts);
    return run(uid, input, argv);
}

Run *run_program(const char *const *words, const char *line, va_list texts)
{
    g_autoptr(GPtrArray) argv = split(words, line, texts);
    return run(-1, "", argv);
}

GSubprocess *begin_program(const char *const *words, const char *line, va_list texts)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = split(words, line, texts);
    GSubprocess *child =
        g_subprocess_newv((const char *const *)argv->pdata, G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
    g_assert_no_error(error);
    return child;
}

void assert_run(Run *run, int status)
{
    if (run->status != status)
        g_error("exit status %d instead of %d; stdout: %s; stderr: %s", run->status, status, run->out,
                run->err);
}

JsonNode *run_json(Run *run)
{
    g_autoptr(GError) error = NULL;
    JsonNode *node = json_from_string(run->out, &error);
    g_assert_no_error(error);
    g_assert_nonnull(node);
    return node;
}

char *json_text(JsonNode *node, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);
    for (guint i = 0; names[i] != NULL; i++) {
        g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
        node = json_object_get_member(json_node_get_object(node), names[i]);
        g_assert_nonnull(node);
    }
    return json_node_dup_string(node);
}

struct Terminal {
    pid_t pid;
    int fd;
    GString *screen;
    gsize matched;
};

static Terminal *start(guint columns, guint rows, const char *const *environment, GPtrArray *argv)
{
    const struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    Terminal *terminal = g_new0(Terminal, 1);
    terminal->screen = g_string_new(NULL);
    terminal->pid = forkpty(&terminal->fd, NULL, NULL, &size);
    g_assert_cmpint(terminal->pid, >=, 0);
    if (terminal->pid > 0)
        return terminal;
    setenv("TERM", "xterm", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    for (; environment != NULL && environment[0] != NULL; environment += 2)
        setenv(environment[0], environment[1], 1);
    execv(argv->pdata[0], (char **)argv->pdata);
    _exit(127);
}

Terminal *terminal_new(guint columns, const char *const *environment, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(GPtrArray) argv = split_iothsmctl(line, texts);
    va_end(texts);
    return start(columns, ROWS, environment, argv);
}

Terminal *terminal_new_of(guint columns, guint rows, const char *const *environment, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(GPtrArray) argv = split_iothsmctl(line, texts);
    va_end(texts);
    return start(columns, rows, environment, argv);
}

/* False at the end of the program. */
static bool read_more(Terminal *terminal)
{
    struct pollfd ready = {.fd = terminal->fd, .events = POLLIN};
    char block[4096];
    if (poll(&ready, 1, SECONDS * 1000) == 0)
        g_error("the program on the terminal says nothing more; the screen: %s", terminal->screen->str);
    ssize_t n = read(terminal->fd, block, sizeof block);
    /* EIO: nobody has the other side open any more. */
    if (n <= 0)
        return false;
    g_string_append_len(terminal->screen, block, n);
    return true;
}

void terminal_expect(Terminal *terminal, const char *text)
{
    const char *found;
    while ((found = strstr(terminal->screen->str + terminal->matched, text)) == NULL)
        if (!read_more(terminal))
            g_error("\"%s\" was not said; the screen: %s", text, terminal->screen->str);
    terminal->matched = (gsize)(found - terminal->screen->str) + strlen(text);
}

void terminal_type(Terminal *terminal, const char *text)
{
    g_assert_cmpint(write(terminal->fd, text, strlen(text)), ==, (gssize)strlen(text));
}

/* Gives the wait status and takes |terminal| apart; its screen is transferred. */
static int finish(Terminal *terminal, char **ret_screen)
{
    int status;
    while (read_more(terminal))
        ;
    while (waitpid(terminal->pid, &status, 0) < 0)
        g_assert_cmpint(errno, ==, EINTR);
    close(terminal->fd);
    *ret_screen = g_string_free(terminal->screen, FALSE);
    g_free(terminal);
    return status;
}

char *terminal_finish(Terminal *terminal, int status)
{
    char *screen = NULL;
    int result = finish(terminal, &screen);
    if (!WIFEXITED(result) || WEXITSTATUS(result) != status)
        g_error("wait status 0x%x instead of exit status %d; the screen: %s", (unsigned)result, status,
                screen);
    return screen;
}

void terminal_finish_by_signal(Terminal *terminal, int number)
{
    g_autofree char *screen = NULL;
    int result = finish(terminal, &screen);
    if (!WIFSIGNALED(result) || WTERMSIG(result) != number)
        g_error("wait status 0x%x instead of signal %d; the screen: %s", (unsigned)result, number, screen);
}
