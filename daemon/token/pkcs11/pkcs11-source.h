/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a module's source does on its thread: one thing with nobody else inside the module, followed by a look
 * at which tokens there are now. */

#include "daemon/token/pkcs11/pkcs11-module.h"
#include "daemon/token/pkcs11/pkcs11.h"

typedef struct ModuleJob ModuleJob;
/* Runs alone in the module, which is loaded; calls module_initialise where it changed what tokens there are.
 */
typedef bool (*ModuleWork)(Module *module, ModuleJob *job, GError **error);

struct ModuleJob {
    ModuleWork work; /* NULL: only initialise the module again */
    char *label;
    Secret *so_pin;
    Secret *pin;
    char *serial; /* of the token that the work was about: a result */
    DoneFunc done;
    TextDoneFunc text_done; /* instead of |done|: gets |serial| */
    void *userdata;
};

/* Takes |job|. */
void pkcs11_source_submit(Source *source, ModuleJob *job);
/* Takes |job| and |error|, and says so a moment later. */
void pkcs11_source_reject(Source *source, ModuleJob *job, GError *error);
bool pkcs11_source_is_softhsm(const Source *source);
