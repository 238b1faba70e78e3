/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who might have the card that the service can't get. The service's sandbox hides other processes from it;
 * the person at the shell sees their own, and it is mostly one of those: GnuPG's scdaemon, a browser, a
 * manager of YubiKeys. */

/* Processes below |proc| ("/proc") that use smart cards: they have PC/SC's library loaded, or a USB device
 * open. "scdaemon (process 4711), firefox (process 12)", or NULL: none that this user may look at. Transfer
 * full. */
char *card_users(const char *proc);

/* A sentence of it that says what can be done, or NULL. Transfer full. */
char *card_users_hint(const char *proc);
