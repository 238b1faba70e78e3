/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsmd: see daemon.h. */

#include "daemon/daemon.h"

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, NULL);
}
