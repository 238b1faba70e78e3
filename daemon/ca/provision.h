/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Provisioning of a slot, as a person does it: asynchronous acts over a slot and a template. */

#include "daemon/done.h"
#include "daemon/token/slot.h"

typedef struct ProvisionOptions {
    const char *hash; /* "sha256" "sha384" "sha512"; NULL = sha256 */
    int days;         /* 0: the template's Not After */
    bool replace;     /* the slot may hold a certificate that is in use already (SLOT_OCCUPIED otherwise) */
} ProvisionOptions;

/* Self-signs by |template_pem|, writes the certificate into the slot; |done| gets it as PEM. */
void provision_self_sign(Slot *slot, const char *template_pem, const ProvisionOptions *options,
                         GCancellable *cancellable, TextDoneFunc done, void *userdata);
/* |done| gets the CSR as PEM; nothing is stored. */
void provision_create_csr(Slot *slot, const char *template_pem, const ProvisionOptions *options,
                          GCancellable *cancellable, TextDoneFunc done, void *userdata);
/* Writes a certificate that was signed elsewhere; KEY_MISMATCH where it is not for this key. Importing the
 * certificate of a key that was moved here is the same act (re-association). */
void provision_import_certificate(Slot *slot, const char *certificate_pem, GCancellable *cancellable,
                                  DoneFunc done, void *userdata);
