/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An idle source of the default priority, as everything else has that completes on the main thread. */

#include "daemon/done.h"

typedef struct Later {
    DoneFunc done;
    TextDoneFunc text_done; /* or this one */
    void *userdata;
    GError *error;
} Later;

static void later_free(void *data)
{
    Later *later = data;
    g_clear_error(&later->error);
    g_free(later);
}

static gboolean on_later(void *data)
{
    const Later *later = data;
    if (later->text_done)
        later->text_done(NULL, later->error, later->userdata);
    else
        later->done(later->error, later->userdata);
    return G_SOURCE_REMOVE;
}

static void tell_later(Later what)
{
    g_idle_add_full(G_PRIORITY_DEFAULT, on_later, g_memdup2(&what, sizeof what), later_free);
}

void done_later(DoneFunc done, void *userdata, GError *error)
{
    tell_later((Later){.done = done, .userdata = userdata, .error = error});
}

void text_fail_later(TextDoneFunc done, void *userdata, GError *error)
{
    tell_later((Later){.text_done = done, .userdata = userdata, .error = error});
}
