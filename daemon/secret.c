/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where a secret's bytes live and how they come in. The buffers that the bytes pass through are the secret's
 * own secure memory, so there is no second copy to wipe. */

#include "daemon/secret.h"
#include "daemon/error.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/memfd.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* OpenSSL's secure heap: room for a few dozen PINs and a PEM key or two at their largest. */
enum { HEAP_SIZE = 4 << 20, HEAP_UNIT = 32 };
enum { PIPE_SECONDS = 5 };

struct Secret {
    gatomicrefcount references;
    gsize size;
    char *data; /* size + 1; ordinary memory, wiped as well, once the secure heap is full */
};

bool secret_memory_init(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    return CRYPTO_secure_malloc_initialized() || CRYPTO_secure_malloc_init(HEAP_SIZE, HEAP_UNIT) == 1;
}

static Secret *secret_with_room(gsize size)
{
    Secret *secret = g_new0(Secret, 1);
    g_atomic_ref_count_init(&secret->references);
    secret->size = size;
    secret->data = OPENSSL_secure_zalloc(size + 1);
    if (!secret->data)
        secret->data = OPENSSL_zalloc(size + 1);
    if (!secret->data)
        g_error("out of memory for a secret of %zu bytes", size);
    return secret;
}

Secret *secret_new_blank(gsize size, char **ret_bytes)
{
    Secret *secret = secret_with_room(size);
    *ret_bytes = secret->data;
    return secret;
}

Secret *secret_new(const void *data, gsize size)
{
    Secret *secret = secret_with_room(size);
    if (size > 0)
        memcpy(secret->data, data, size);
    return secret;
}

Secret *secret_ref(Secret *secret)
{
    g_atomic_ref_count_inc(&secret->references);
    return secret;
}

void secret_unref(Secret *secret)
{
    if (!secret || !g_atomic_ref_count_dec(&secret->references))
        return;
    OPENSSL_secure_clear_free(secret->data, secret->size + 1);
    g_free(secret);
}

const char *secret_data(const Secret *secret)
{
    return secret->data;
}

gsize secret_size(const Secret *secret)
{
    return secret->size;
}

bool secret_is(const Secret *secret, const void *data, gsize size)
{
    return secret && secret->size == size && CRYPTO_memcmp(secret->data, data, size) == 0;
}

bool secret_equal(const Secret *one, const Secret *other)
{
    return other && secret_is(one, other->data, other->size);
}

/* One secret on its way in: from a descriptor that is read until its end. */
typedef struct Reading {
    int fd;
    Secret *buffer; /* SECRET_SIZE_MAX + 1 of room, so that one byte too many is seen */
    gsize filled;
    GSource *readable;
    GSource *deadline;
    GCancellable *cancellable;
    SecretDoneFunc done;
    void *userdata;
} Reading;

static void reading_free(Reading *reading)
{
    if (reading->readable) {
        g_source_destroy(reading->readable);
        g_source_unref(reading->readable);
    }
    if (reading->deadline) {
        g_source_destroy(reading->deadline);
        g_source_unref(reading->deadline);
    }
    if (reading->cancellable)
        g_object_unref(reading->cancellable);
    if (reading->fd >= 0)
        close(reading->fd);
    secret_unref(reading->buffer);
    g_free(reading);
}

/* What was read, judged: a secret, or the error that explains why not. */
static Secret *reading_result(Reading *reading, GError **error)
{
    gsize size = reading->filled;
    const char *data = reading->buffer->data;

    if (size > SECRET_SIZE_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The secret is longer than %u bytes",
                    SECRET_SIZE_MAX);
        return NULL;
    }
    if (size > 0 && data[size - 1] == '\n')
        size--;
    if (size > 0 && data[size - 1] == '\r')
        size--;
    if (size == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The file descriptor holds no secret; write the PIN or key into it before passing it on");
        return NULL;
    }
    return secret_new(data, size);
}

/* Takes |failure|, NULL where everything was read. */
static void reading_finish(Reading *reading, GError *failure)
{
    g_autoptr(GError) error = failure;
    if (g_cancellable_is_cancelled(reading->cancellable)) {
        g_clear_error(&error);
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                    "The caller left before the secret was read");
    }
    g_autoptr(Secret) secret = error ? NULL : reading_result(reading, &error);
    reading->done(secret, error, reading->userdata);
    reading_free(reading);
}

static void reading_fail(Reading *reading, IothsmError code, const char *sentence)
{
    reading_finish(reading, g_error_new_literal(IOTHSM_ERROR, (int)code, sentence));
}

/* 1: end reached or too much, 0: would block, -1: errno. */
static int read_more(Reading *reading)
{
    for (;;) {
        gsize room = reading->buffer->size - reading->filled;
        if (room == 0)
            return 1;
        ssize_t n = read(reading->fd, reading->buffer->data + reading->filled, room);
        if (n > 0)
            reading->filled += (gsize)n;
        else if (n == 0)
            return 1;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -1;
    }
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer userdata)
{
    Reading *reading = userdata;
    int r = read_more(reading);
    if (r == 0)
        return G_SOURCE_CONTINUE;
    if (r < 0)
        reading_fail(reading, IOTHSM_ERROR_INVALID, "The secret's file descriptor can't be read");
    else
        reading_finish(reading, NULL);
    return G_SOURCE_REMOVE;
}

static gboolean on_deadline(gpointer userdata)
{
    reading_fail(userdata, IOTHSM_ERROR_INVALID,
                 "Nothing more came through the secret's pipe for 5 s; write the secret and close the pipe");
    return G_SOURCE_REMOVE;
}

static void read_pipe(Reading *reading)
{
    if (!g_unix_set_fd_nonblocking(reading->fd, TRUE, NULL)) {
        reading->deadline = g_idle_source_new();
    } else {
        reading->readable = g_unix_fd_source_new(reading->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
        g_source_set_callback(reading->readable, G_SOURCE_FUNC(on_readable), reading, NULL);
        g_source_attach(reading->readable, g_main_context_get_thread_default());
        reading->deadline = g_timeout_source_new_seconds(PIPE_SECONDS);
    }
    g_source_set_callback(reading->deadline, on_deadline, reading, NULL);
    g_source_attach(reading->deadline, g_main_context_get_thread_default());
}

/* A regular file may be on a slow disk: a thread reads it, from the start, without moving the caller's
 * offset. */
static void read_file_thread(GTask *task, gpointer source, gpointer userdata, GCancellable *cancellable)
{
    Reading *reading = userdata;
    while (reading->filled < reading->buffer->size) {
        ssize_t n = pread(reading->fd, reading->buffer->data + reading->filled,
                          reading->buffer->size - reading->filled, (off_t)reading->filled);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_task_return_boolean(task, n == 0);
            return;
        }
        reading->filled += (gsize)n;
    }
    g_task_return_boolean(task, TRUE);
}

static void on_file_read(GObject *source, GAsyncResult *result, gpointer userdata)
{
    Reading *reading = userdata;
    if (g_task_propagate_boolean(G_TASK(result), NULL))
        reading_finish(reading, NULL);
    else
        reading_fail(reading, IOTHSM_ERROR_INVALID, "The secret's file can't be read");
}

static void read_file(Reading *reading)
{
    g_autoptr(GTask) task = g_task_new(NULL, NULL, on_file_read, reading);
    g_task_set_task_data(task, reading, NULL);
    g_task_run_in_thread(task, read_file_thread);
}

typedef enum DescriptorKind { DESCRIPTOR_REFUSED, DESCRIPTOR_FILE, DESCRIPTOR_PIPE } DescriptorKind;

/* A memfd must be sealed: its writer could change it under our hands. */
static DescriptorKind descriptor_kind(int fd)
{
    struct stat status;
    int mode = fcntl(fd, F_GETFL);
    if (fstat(fd, &status) < 0 || mode < 0 || (mode & O_ACCMODE) == O_WRONLY || (mode & O_PATH))
        return DESCRIPTOR_REFUSED;
    if (S_ISFIFO(status.st_mode))
        return DESCRIPTOR_PIPE;
    if (!S_ISREG(status.st_mode))
        return DESCRIPTOR_REFUSED;
    int seals = fcntl(fd, F_GET_SEALS);
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    bool in_memory = seals >= 0 && status.st_nlink == 0;
    return in_memory && (seals & wanted) != wanted ? DESCRIPTOR_REFUSED : DESCRIPTOR_FILE;
}

static gboolean on_refused(gpointer userdata)
{
    reading_fail(userdata, IOTHSM_ERROR_INVALID,
                 "A secret must come as a sealed memfd, a regular file or a pipe");
    return G_SOURCE_REMOVE;
}

void secret_read(int fd, GCancellable *cancellable, SecretDoneFunc done, void *userdata)
{
    Reading *reading = g_new0(Reading, 1);
    reading->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    reading->buffer = secret_with_room(SECRET_SIZE_MAX + 1);
    reading->cancellable = cancellable ? g_object_ref(cancellable) : NULL;
    reading->done = done;
    reading->userdata = userdata;

    switch (reading->fd < 0 ? DESCRIPTOR_REFUSED : descriptor_kind(reading->fd)) {
    case DESCRIPTOR_PIPE:
        read_pipe(reading);
        break;
    case DESCRIPTOR_FILE:
        read_file(reading);
        break;
    case DESCRIPTOR_REFUSED:
        g_idle_add_full(G_PRIORITY_DEFAULT, on_refused, reading, NULL);
        break;
    }
}
