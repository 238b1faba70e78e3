/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Google Cloud KMS as a source of tokens: one token a configured key ring, whose slots KEY:VERSION are the
 * enabled versions of its keys that sign. Keys are made, disabled and destroyed in Google Cloud alone; what a
 * key has here is its CA certificate, a file of the state directory, because KMS can't hold one.
 *
 * A key ring's serial number is PROJECT:LOCATION:RING. It is kept as STATE/google-kms/SERIAL.json beside its
 * sealed credentials, and in STATE/google-kms/certificates/. A clear of a slot removes the certificate only.
 *
 * Main thread. What takes long runs on threads of the source's own; each |done| runs exactly once, later, on
 * the main thread. Credentials are a service account's key file (JSON) as Google hands it out, or NULL: the
 * metadata server of the machine, which runs in Google Cloud then. */

#include "daemon/sealing.h"
#include "daemon/token/source.h"

/* Where Google is. All are https, or http towards a loopback host; the metadata server's own name and address
 * are plain http by their nature. NULL members: Google's own. */
typedef struct GoogleEndpoints {
    const char *kms;              /* https://cloudkms.googleapis.com */
    const char *resource_manager; /* https://cloudresourcemanager.googleapis.com */
    const char *metadata;         /* http://metadata.google.internal */
} GoogleEndpoints;

/* |endpoints| are copied; |sealing| is kept and outlives the source. */
Source *google_kms_source_new(Sealing *sealing, const GoogleEndpoints *endpoints);

/* One step of the walk to a key ring, all result pages read. |parent|:
 *   ""                                      the projects that the credentials see
 *   "projects/P"                            its locations
 *   "projects/P/locations/L"                its key rings
 *   "projects/P/locations/L/keyRings/R"     its slots
 * |done| gets JSON: {"parent": …, "children": [{"name": "projects/p", "label": "My project"}, …]}; a slot is
 * {"name": "root:1", "label": full resource name, "algorithm": "EC_SIGN_P256_SHA256", "state": "ENABLED",
 * "protection": "HSM", "usable": true, "reason": ""}. Errors: INVALID for another |parent| or what are no
 * credentials, CLOUD_REFUSED with Google's own words, LINK_DOWN where Google can't be reached. */
void google_kms_browse(Source *source, const char *parent, Secret *credentials, GCancellable *cancellable,
                       TextDoneFunc done, void *userdata);

/* Whether |key_ring| ("projects/P/locations/L/keyRings/R") can be used: asks for the permissions that are
 * needed, and where they are there makes one trial signature with the first usable slot. |done| gets JSON:
 * {"keyRing": …, "serial": "p:l:r", "account": "name@p.iam.gserviceaccount.com", "missing":
 * [{"permission": "cloudkms.cryptoKeyVersions.useToSign", "role": "roles/cloudkms.signerVerifier",
 * "title": "Cloud KMS CryptoKey Signer/Verifier"}, …], "slots": […]
 * as above, "trial": "root:1" or "", "ready": bool}. */
void google_kms_check(Source *source, const char *key_ring, Secret *credentials, GCancellable *cancellable,
                      TextDoneFunc done, void *userdata);

/* Checks as above and only then saves and has the token appear. |done| gets the serial number. CLOUD_REFUSED
 * names what is missing and the roles that have it; SLOT_EMPTY: no key version in it can sign here; INVALID:
 * the key ring is there already; TOKEN_BUSY: somebody else is about to add it; UNSUPPORTED where there is no
 * sealing key to keep |credentials| under. */
void google_kms_source_add(Source *source, const char *key_ring, Secret *credentials,
                           GCancellable *cancellable, TextDoneFunc done, void *userdata);

/* Forgets the key ring, its credentials and its certificates; nothing happens at Google. NO_SUCH_TOKEN. */
void google_kms_source_remove(Source *source, const char *serial, DoneFunc done, void *userdata);
