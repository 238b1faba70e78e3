/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into the daemon: a disk on which every fsync takes half a second. */

#include <dlfcn.h>
#include <time.h>

int fsync(int fd);
int fdatasync(int fd);

static int slowly(const char *name, int fd)
{
    const struct timespec half_a_second = {.tv_nsec = 500 * 1000 * 1000};
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    nanosleep(&half_a_second, NULL);
    return real(fd);
}

int fsync(int fd)
{
    return slowly("fsync", fd);
}

int fdatasync(int fd)
{
    return slowly("fdatasync", fd);
}
