/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tokens behind a PKCS#11 module, SoftHSM2 first of all. The module is loaded once (libp11, and its own
 * function list for what libp11 lacks); every present token is one Backend.
 *
 * A token made or deleted by another process stays invisible to a PKCS#11 module until C_Finalize and
 * C_Initialize, which kill all handles. So a reload takes the module's lock as a writer (every backend call
 * holds it as a reader), re-initialises, and each backend re-opens its token by serial number and its keys by
 * CKA_ID when it is next called. A request that was waiting notices nothing. */

#include "daemon/secret.h"
#include "daemon/token/source.h"

/* Loads |module| on a thread at start, not here. |softhsm|: the tokens are SoftHSM2's and can be created and
 * deleted. Transfer full. */
Source *pkcs11_source_new(const char *module, bool softhsm);

/* The configuration that SoftHSM2 reads: unless SOFTHSM2_CONF is set already, makes STATE/softhsm2.conf and
 * STATE/softhsm (0700) and sets the variable. Before the first thread. */
bool softhsm_prepare(const char *state_directory, GError **error);

/* Initialises the free slot with |label|, SO PIN and PIN in this process; the new token is reported through
 * SourceEvents before |done| gets its serial. */
void softhsm_create_token(Source *source, const char *label, Secret *so_pin, Secret *pin, TextDoneFunc done,
                          void *userdata);
/* Deletes the token's files with softhsm2-util --delete-token --serial, and reloads. Its keys are gone. */
void softhsm_delete_token(Source *source, const char *serial, DoneFunc done, void *userdata);
