/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pcscd of the test's own, with virtual readers. It gets its socket in the way of systemd's socket
 * activation and so needs neither root nor /run; PC/SC programs that the test starts find it through the
 * environment. Programs and drivers come from $PCSCD and $PCSC_VIRTUAL_READER. Failures are assertions. */

#include <glib.h>
#include <stdbool.h>

#define PCSC_READERS 2
/* What pcscd can have. */
#define PCSC_READERS_MAX 16

typedef struct Pcsc Pcsc;

/* True, and TAP is told that all is skipped: the programs are not installed. Before any test. */
bool pcsc_is_missing(void);
/* One at a time; sets PCSCLITE_CSOCK_NAME for the whole process. */
Pcsc *pcsc_start(void);
/* The same with so many readers, an even number. */
Pcsc *pcsc_start_readers(guint readers);
/* With its readers, but without the daemon: pcsc_start_again is when it starts. */
Pcsc *pcsc_new_stopped(guint readers);
/* Ends the daemon, and its socket goes away; starts one with the same readers. */
void pcsc_stop(Pcsc *pcsc);
void pcsc_start_again(Pcsc *pcsc);
void pcsc_free(Pcsc *pcsc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pcsc, pcsc_free)

/* Where a card for |reader| (from 0 on) connects. */
guint pcsc_port(const Pcsc *pcsc, guint reader);
/* What PC/SC calls it. */
const char *pcsc_reader_name(guint reader);
/* Waits until PC/SC says that there is a card in |reader|, or none. */
void pcsc_wait_card(const Pcsc *pcsc, guint reader, bool present);
