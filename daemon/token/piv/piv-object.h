/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a YubiKey tells of itself, taken apart: metadata, certificate objects, attestations, and where it
 * keeps its management key. All of it is foreign bytes, so everything is checked and limited. Pure. */

#include "daemon/token/piv/piv.h"
#include <openssl/x509.h>

/* GET METADATA of a key, of the management key, or of PIN and PUK. 0, NULL and -1: not told. */
typedef struct PivMetadata {
    guint8 algorithm;
    guint8 pin_policy;
    guint8 touch_policy;
    guint8 origin;
    EVP_PKEY *public_key;
    int is_default;
    int tries_left;
} PivMetadata;

enum { PIV_ORIGIN_GENERATED = 1, PIV_ORIGIN_IMPORTED = 2 };

void piv_metadata_clear(PivMetadata *metadata);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PivMetadata, piv_metadata_clear)
/* False: that is no metadata. |*ret_metadata| is replaced without being freed. */
bool piv_metadata_parse(PivBytes answer, PivMetadata *ret_metadata);

/* The content of a data object in GET DATA's answer. */
bool piv_object_content(PivBytes answer, PivBytes *ret_content);

/* The longest content of a data object that every YubiKey takes. */
#define PIV_OBJECT_MAX 3052
/* The certificate in an object's content, compressed or not; NULL: none that can be read. Transfer full. */
X509 *piv_certificate_parse(PivBytes content);
/* An object's content for |certificate|, compressed where it has to be. NULL: too long all the same. */
GBytes *piv_certificate_build(X509 *certificate);

/* The certificate that is ATTEST's answer, of a key that OpenSSL has; what it claims, attestation.h reads.
 * Transfer full, or NULL. */
X509 *piv_attestation_parse(PivBytes answer);

/* Kinds of management key. */
typedef struct PivManagementAlgorithm {
    const char *name; /* "aes192" */
    guint8 id;
    const char *cipher; /* OpenSSL's */
    gsize key_size;
    gsize block_size;
    Firmware since;
} PivManagementAlgorithm;

#define PIV_MANAGEMENT_ALGORITHMS 4
extern const PivManagementAlgorithm piv_management_algorithms[PIV_MANAGEMENT_ALGORITHMS];
#define PIV_MANAGEMENT_KEY_MAX 32
#define PIV_MANAGEMENT_BLOCK_MAX 16
extern const guint8 piv_factory_management_key[24];
const PivManagementAlgorithm *piv_management_algorithm(guint8 id);
/* NULL with UNSUPPORTED, or INVALID for a name that is none. */
const PivManagementAlgorithm *piv_management_algorithm_find(const char *name, Firmware firmware,
                                                            GError **error);

/* The object PIV_OBJECT_ADMINISTRATION: is the management key kept on the token, readable with the PIN? */
bool piv_administration_says_protected(PivBytes content);
/* Has it the salt of a management key that was derived from the PIN? */
bool piv_administration_has_salt(PivBytes content);
/* The same content with the former changed, all else as it was; the salt goes with the key that it was for.
 */
void piv_administration_write(PivWriter *writer, PivBytes old_content, bool protected, bool keep_salt);

/* The object PIV_OBJECT_PROTECTED: the key, and the one that is about to replace it. The latter is our own
 * tag: other programs read over it. Empty: not there. */
typedef struct PivProtected {
    PivBytes key;
    PivBytes next;
    PivBytes content; /* all of it */
} PivProtected;
void piv_protected_parse(PivBytes content, PivProtected *ret_protected);
/* |old_content| with other keys and all else as it was; nothing at all where nothing is left. */
void piv_protected_write(PivWriter *writer, PivBytes old_content, PivBytes key, PivBytes next);
