/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Replacing a file so that a power cut leaves the old one or the new one: temporary name, fsync, rename,
 * fsync of the directory. */

#include "daemon/state-file.h"
#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/message-ids.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool failed(GError **error, const char *what, const char *path)
{
    int saved = errno;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't %s %s: %s", what, path, g_strerror(saved));
    return false;
}

static bool write_all(int fd, const char *data, gsize size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            size -= (gsize)n;
        }
    }
    return true;
}

static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    close(fd);
    return ok;
}

bool state_file_write(const char *path, const void *data, gsize size, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *temporary = g_strdup_printf("%s.XXXXXX", path);

    if (g_mkdir_with_parents(directory, 0700) < 0)
        return failed(error, "make the folder", directory);
    int fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(error, "write", temporary);
    bool written = write_all(fd, data, size) && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) < 0 && written) {
        saved = errno;
        written = false;
    }
    if (!written || g_rename(temporary, path) < 0) {
        if (written)
            saved = errno;
        (void)g_unlink(temporary);
        errno = saved;
        return failed(error, "write", path);
    }
    if (!sync_directory(directory))
        return failed(error, "make durable the folder", directory);
    return true;
}

GBytes *state_file_read(const char *path, gsize limit, GError **error)
{
    /* Non-blocking: a FIFO would have us wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return NULL;
    if (fd < 0) {
        failed(error, "read", path);
        return NULL;
    }
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || (guint64)status.st_size > limit) {
        close(fd);
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s is not a file of at most %zu bytes", path,
                    limit);
        return NULL;
    }
    g_autofree char *data = g_malloc((gsize)status.st_size + 1);
    gsize size = 0;
    while (size < (gsize)status.st_size) {
        ssize_t n = read(fd, data + size, (gsize)status.st_size - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            failed(error, "read", path);
            close(fd);
            return NULL;
        }
        if (n == 0)
            break;
        size += (gsize)n;
    }
    close(fd);
    return g_bytes_new_take(g_steal_pointer(&data), size);
}

bool state_file_set_aside(const char *path, const char *reason, GError **error)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *date = g_date_time_format(now, "%Y%m%dT%H%M%S");
    g_autofree char *aside = g_strdup_printf("%s.unreadable-%s", path, date);
    for (int i = 2; g_file_test(aside, G_FILE_TEST_EXISTS); i++) {
        g_free(aside);
        aside = g_strdup_printf("%s.unreadable-%s-%d", path, date, i);
    }
    if (g_rename(path, aside) < 0)
        return failed(error, "set aside", path);
    log_event(LOG_WARNING, MESSAGE_STATE_SET_ASIDE, LOG_FIELDS({"IOTHSM_FILE", aside}),
              "%s can't be used (%s). It was kept as %s and a new one is made.", path, reason, aside);
    return true;
}
