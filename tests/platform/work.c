/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One GThreadPool for the whole program, made at the first job. */

#include "tests/platform/work.h"

typedef struct Piece {
    WorkFunc work;
    WorkFunc done;
    gpointer job;
} Piece;

static gboolean finish(gpointer data)
{
    g_autofree Piece *piece = data;
    piece->done(piece->job);
    return G_SOURCE_REMOVE;
}

static void run(gpointer data, gpointer unused)
{
    Piece *piece = data;
    piece->work(piece->job);
    g_idle_add_full(G_PRIORITY_DEFAULT, finish, piece, NULL);
}

static gpointer make_pool(gpointer unused)
{
    return g_thread_pool_new(run, NULL, (int)g_get_num_processors(), FALSE, NULL);
}

void work_submit(WorkFunc work, WorkFunc done, gpointer job)
{
    static GOnce once = G_ONCE_INIT;
    Piece *piece = g_new(Piece, 1);
    *piece = (Piece){.work = work, .done = done, .job = job};
    g_thread_pool_push(g_once(&once, make_pool, NULL), piece, NULL);
}
