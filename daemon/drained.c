/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A set in memory, and its text on disk, which is written as a whole each time. */

#include "daemon/drained.h"
#include "daemon/state-file.h"
#include <string.h>

#define SIZE_MAX_BYTES (1024 * 1024)

struct Drained {
    char *path;
    GHashTable *serials;
};

static bool read_text(Drained *drained, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_autofree char *serial = g_uri_unescape_string(*line, NULL);
        if (!serial)
            return false;
        if (*serial)
            g_hash_table_add(drained->serials, g_steal_pointer(&serial));
    }
    return true;
}

Drained *drained_open(const char *state_directory, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Drained) drained = g_new0(Drained, 1);
    drained->path = g_build_filename(state_directory, "drained", NULL);
    drained->serials = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GBytes) bytes = state_file_read(drained->path, SIZE_MAX_BYTES, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    gsize size = 0;
    const char *data = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    g_autofree char *text = g_strndup(data ? data : "", size);
    if (strlen(text) == size && read_text(drained, text))
        return g_steal_pointer(&drained);
    g_hash_table_remove_all(drained->serials);
    if (!state_file_set_aside(drained->path, "it is not a list of serial numbers", error))
        return NULL;
    return g_steal_pointer(&drained);
}

void drained_free(Drained *drained)
{
    if (!drained)
        return;
    g_hash_table_unref(drained->serials);
    g_free(drained->path);
    g_free(drained);
}

bool drained_has(const Drained *drained, const char *serial)
{
    return g_hash_table_contains(drained->serials, serial);
}

typedef struct WriteJob {
    char *path;
    GString *text;
} WriteJob;

static bool run_write(void *data, GCancellable *cancelled, GError **error)
{
    const WriteJob *job = data;
    return state_file_write(job->path, job->text->str, job->text->len, error);
}

static void write_job_free(void *data)
{
    WriteJob *job = data;
    g_free(job->path);
    g_string_free(job->text, TRUE);
    g_free(job);
}

static WriteJob *write_job_new(const Drained *drained)
{
    WriteJob *job = g_new0(WriteJob, 1);
    job->path = g_strdup(drained->path);
    job->text = g_string_new(NULL);
    GHashTableIter iter;
    void *serial;
    g_hash_table_iter_init(&iter, drained->serials);
    while (g_hash_table_iter_next(&iter, &serial, NULL)) {
        g_autofree char *escaped = g_uri_escape_string(serial, NULL, FALSE);
        g_string_append_printf(job->text, "%s\n", escaped);
    }
    return job;
}

void drained_set(Drained *drained, const char *serial, bool on, Worker *files, DoneFunc done, void *userdata)
{
    GError *error = NULL;
    if (on)
        g_hash_table_add(drained->serials, g_strdup(serial));
    else
        g_hash_table_remove(drained->serials, serial);
    if (!worker_submit(files, run_write, write_job_new(drained), write_job_free, WORKER_NO_DEADLINE, NULL,
                       done, userdata, &error))
        done_later(done, userdata, error);
}
