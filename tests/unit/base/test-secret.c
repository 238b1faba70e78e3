/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/secret.h"
#include "tests/support/support.h"
#include <fcntl.h>
#include <glib-unix.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Result {
    bool done;
    Secret *secret;
    GError *error;
} Result;

static void on_secret(Secret *secret, const GError *error, void *userdata)
{
    Result *result = userdata;
    result->secret = secret ? secret_ref(secret) : NULL;
    result->error = error ? g_error_copy(error) : NULL;
    result->done = true;
}

static Result read_from(int fd)
{
    Result result = {0};
    secret_read(fd, NULL, on_secret, &result);
    g_assert_false(result.done);
    close(fd);
    test_wait(&result.done, 10);
    return result;
}

static void expect_secret(int fd, const char *expected)
{
    Result result = read_from(fd);
    g_assert_no_error(result.error);
    g_assert_cmpmem(secret_data(result.secret), secret_size(result.secret), expected, strlen(expected));
    g_assert_cmpint(secret_data(result.secret)[secret_size(result.secret)], ==, '\0');
    secret_unref(result.secret);
}

static void expect_refused(int fd)
{
    Result result = read_from(fd);
    g_assert_null(result.secret);
    g_assert_error(result.error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_error_free(result.error);
}

static int memfd(const char *text, int seals)
{
    int fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

static int pipe_with(const char *text)
{
    int fds[2];
    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    g_assert_cmpint(write(fds[1], text, strlen(text)), ==, (gssize)strlen(text));
    close(fds[1]);
    return fds[0];
}

static int file_with(const char *text, int flags)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = test_write(directory, "pin", text);
    int fd = open(path, flags | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void sealed_memfd_file_and_pipe_are_read(void)
{
    expect_secret(memfd("123456", F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), "123456");
    expect_secret(memfd("123456\n", F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), "123456");
    expect_secret(pipe_with("654321\r\n"), "654321");
    expect_secret(pipe_with("a\n\n"), "a\n");
    expect_secret(file_with("0000", O_RDONLY), "0000");
}

static void anything_else_is_refused(void)
{
    int sockets[2];
    expect_refused(memfd("123456", 0));
    expect_refused(memfd("123456", F_SEAL_WRITE));
    expect_refused(open("/dev/zero", O_RDONLY | O_CLOEXEC));
    expect_refused(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    expect_refused(file_with("0000", O_WRONLY));
    expect_refused(file_with("0000", O_PATH));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), ==, 0);
    expect_refused(sockets[0]);
    close(sockets[1]);
}

static void empty_and_too_long_are_refused(void)
{
    g_autofree char *longest = g_strnfill(SECRET_SIZE_MAX, 'x');
    g_autofree char *too_long = g_strnfill(SECRET_SIZE_MAX + 1, 'x');
    expect_refused(pipe_with(""));
    expect_refused(pipe_with("\n"));
    expect_refused(file_with("", O_RDONLY));
    expect_secret(file_with(longest, O_RDONLY), longest);
    expect_refused(file_with(too_long, O_RDONLY));
}

static void a_pipe_that_never_delivers_ends_after_five_seconds(void)
{
    int fds[2];
    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    gint64 start = g_get_monotonic_time();
    expect_refused(fds[0]);
    gint64 took = g_get_monotonic_time() - start;
    close(fds[1]);
    g_assert_cmpint(took, >=, 4 * G_USEC_PER_SEC);
    g_assert_cmpint(took, <, 8 * G_USEC_PER_SEC);
}

static void expect_cancelled(int fd)
{
    Result result = {0};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    secret_read(fd, cancellable, on_secret, &result);
    close(fd);
    g_cancellable_cancel(cancellable);
    test_wait(&result.done, 10);
    g_assert_null(result.secret);
    g_assert_error(result.error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED);
    g_error_free(result.error);
}

/* Nothing is done for a caller who left. */
static void a_secret_that_nobody_waits_for_is_not_given(void)
{
    expect_cancelled(file_with("0000", O_RDONLY));
    expect_cancelled(memfd("123456", F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK));
    expect_cancelled(pipe_with("654321"));
    expect_cancelled(pipe_with(""));
    expect_cancelled(open("/dev/zero", O_RDONLY | O_CLOEXEC));
}

static void secrets_live_in_the_secure_heap(void)
{
    g_autoptr(Secret) secret = secret_new("123456", 6);
    g_assert_true(CRYPTO_secure_allocated(secret_data(secret)));
    gsize before = CRYPTO_secure_used();
    secret_unref(secret_new("abc", 3));
    g_assert_cmpuint(CRYPTO_secure_used(), ==, before);
}

static void the_process_leaves_no_core(void)
{
    struct rlimit limit;
    g_assert_cmpint(prctl(PR_GET_DUMPABLE), ==, 0);
    g_assert_cmpint(getrlimit(RLIMIT_CORE, &limit), ==, 0);
    g_assert_cmpuint(limit.rlim_max, ==, 0);
}

static void only_the_same_bytes_are_equal(void)
{
    g_autoptr(Secret) one = secret_new("123456", 6);
    g_autoptr(Secret) same = secret_new("123456", 6);
    g_autoptr(Secret) longer = secret_new("1234567", 7);
    g_autoptr(Secret) other = secret_new("123450", 6);
    g_assert_true(secret_equal(one, same));
    g_assert_false(secret_equal(one, longer));
    g_assert_false(secret_equal(longer, one));
    g_assert_false(secret_equal(one, other));
    g_assert_false(secret_equal(one, NULL));
    g_assert_false(secret_equal(NULL, one));
    g_assert_false(secret_equal(NULL, NULL));
    g_assert_true(secret_is(one, "123456", 6));
    g_assert_false(secret_is(one, "123456", 7));
    g_assert_false(secret_is(NULL, "", 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    g_test_add_func("/secret/accepted", sealed_memfd_file_and_pipe_are_read);
    g_test_add_func("/secret/refused", anything_else_is_refused);
    g_test_add_func("/secret/size", empty_and_too_long_are_refused);
    g_test_add_func("/secret/silent-pipe", a_pipe_that_never_delivers_ends_after_five_seconds);
    g_test_add_func("/secret/cancelled", a_secret_that_nobody_waits_for_is_not_given);
    g_test_add_func("/secret/heap", secrets_live_in_the_secure_heap);
    g_test_add_func("/secret/equal", only_the_same_bytes_are_equal);
    g_test_add_func("/secret/core", the_process_leaves_no_core);
    return g_test_run();
}
