/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The place where PC/SC's daemon can be reached, watched so that a thread can sleep until it is worth trying
 * again. pcscd and systemd touch their socket once it can be connected to, and that is what ends the sleep;
 * there is no timer. For one thread. */

#include <glib.h>

typedef struct PcscSocket PcscSocket;

/* The socket that libpcsclite uses: $PCSCLITE_CSOCK_NAME, or the usual one. */
PcscSocket *pcsc_socket_new(void);
void pcsc_socket_free(PcscSocket *socket);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PcscSocket, pcsc_socket_free)

/* What happens from now on ends the next wait: to be called before PC/SC is tried. */
void pcsc_socket_arm(PcscSocket *socket);
/* Until something happened to the socket or to a folder above it, or |wake| (an eventfd, which is emptied)
 * was written to. */
void pcsc_socket_wait(PcscSocket *socket, int wake);
