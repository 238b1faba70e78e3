/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/link/disk.h"
#include <sys/syscall.h>
#include <unistd.h>

static gint syncs;
static gint delay;

static int sync_slowly(long call, int fd)
{
    g_atomic_int_inc(&syncs);
    g_usleep((gulong)g_atomic_int_get(&delay) * 1000); /* the disk is slow */
    return (int)syscall(call, fd);
}

int fsync(int fd)
{
    return sync_slowly(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_slowly(SYS_fdatasync, fd);
}

guint disk_syncs(void)
{
    return (guint)g_atomic_int_get(&syncs);
}

void disk_set_delay(guint milliseconds)
{
    g_atomic_int_set(&delay, (gint)milliseconds);
}
