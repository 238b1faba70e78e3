/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tokens without hardware, for tests: a real driver whose keys live in memory, with knobs for what hardware
 * does to people. It can be slow, fail, hang, count PIN tries, block, and be pulled out and put back, with
 * its keys and its PIN counter as they were.
 *
 * A token is described by a line such as "fake:serial=F1,label=One,pin=123456,delay-ms=100,threads=1". Words:
 *   serial     required
 *   label      default: the serial
 *   pin        default: none is needed
 *   so-pin     default 00000000
 *   retries    wrong PINs until it blocks, default 3
 *   delay-ms   how long each signature and each change takes, default 0
 *   threads    how many calls may run at once, default 1; 0: one a processor
 *   slots      how many keys fit, default 8
 *   key, certificate  PEM files: what slot 01 holds from the beginning
 *   ledger     a file: the SHA-256 of each content that is signed is added to it, one a line
 *   piv        1: it has what a YubiKey has: policies for PIN and touch, a management key, a factory PIN
 *              (123456), attestation
 *   management-key    of such a token, in 48 hexadecimal digits; default: the factory's
 *   touch-limit-ms    how long it waits for a finger, default 15000
 *   attestation-root  a file: the certificate that vouches for it is written there
 * All functions but the ones marked so are for the main thread. */

#include "daemon/error.h"
#include "daemon/token/source.h"
#include <openssl/x509.h>

/* |specs|: one line a token, separated by newlines or ';'; may be empty. Transfer full. */
Source *fake_source_new(const char *specs, GError **error);

/* A new token, or with "fake:serial=F1" alone one that was unplugged. After start. */
bool fake_source_plug(Source *source, const char *spec, GError **error);
/* Work that runs on it ends with TOKEN_GONE. */
void fake_source_unplug(Source *source, const char *serial);

void fake_source_set_delay(Source *source, const char *serial, guint milliseconds);
/* The next |count| calls fail with |code|. A signature counts, opening its key does not; a probe counts. */
void fake_source_fail_next(Source *source, const char *serial, guint count, IothsmError code);
/* While held, calls (not: probes) wait inside the token. */
void fake_source_hold(Source *source, const char *serial, bool hold);
/* Calls that wait because the token is held. */
guint fake_source_held(Source *source, const char *serial);
/* How many different contents were signed with its keys so far, whatever became of the signatures. */
guint fake_source_contents_signed(Source *source, const char *serial);
/* PINs and PUKs that the token was handed so far, right or wrong. */
guint fake_source_pins_presented(Source *source, const char *serial);
/* A finger. A key with a touch policy signs after that; one with "cached" does so for 15 s. */
void fake_source_touch(Source *source, const char *serial);
/* Signatures that wait for one. */
guint fake_source_waits_for_touch(Source *source, const char *serial);
/* How often it was asked to attest a key. */
guint fake_source_attestations(Source *source, const char *serial);
/* Transfer none. */
X509 *fake_source_attestation_root(Source *source, const char *serial);
/* How many calls ran at the same time, at most. */
guint fake_source_most_at_once(Source *source, const char *serial);
