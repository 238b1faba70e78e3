/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects of a PKCS#11 token and their attributes: templates to search and create with, values that were
 * read, and how a slot's name stands for the objects that make it up.
 *
 * A slot is all objects with one CKA_ID, and its name is that id in lower-case hex ("01"). Objects without an
 * id make up a slot by their label, named "label=TEXT". Objects with neither can't be told apart and are not
 * shown. */

#include "daemon/token/key-type.h"
#include "daemon/token/pkcs11/pkcs11-module.h"
#include <openssl/x509.h>

#define TEMPLATE_SIZE_MAX 24

/* Attributes with copies of their values in locked memory, wiped at the end: private keys pass through here.
 */
typedef struct Template {
    CK_ATTRIBUTE attributes[TEMPLATE_SIZE_MAX];
    CK_ULONG size;
} Template;

void template_clear(Template *template);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Template, template_clear)

void template_add(Template *template, CK_ATTRIBUTE_TYPE type, const void *value, gsize size);
void template_add_bool(Template *template, CK_ATTRIBUTE_TYPE type, bool value);
void template_add_number(Template *template, CK_ATTRIBUTE_TYPE type, CK_ULONG value);
/* CKA_ID and, where that is empty or |label| is given, CKA_LABEL. INVALID for what is no slot name. */
bool template_add_name(Template *template, const char *slot, const char *label, GError **error);
/* CKA_CLASS and |slot|'s name: what finds the objects of a slot. */
bool template_find(Template *template, CK_OBJECT_CLASS class, const char *slot, GError **error);

/* One session, and what can be asked in it. */
typedef struct Session {
    CK_FUNCTION_LIST *functions;
    CK_SESSION_HANDLE handle;
    const char *serial; /* for error texts */
} Session;

/* Handles (CK_OBJECT_HANDLE) of what matches. Transfer full. */
GArray *session_find(const Session *session, Template *template, GError **error);
/* NULL where the object has no such attribute or does not show it. Transfer full. */
GBytes *session_get(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);
bool session_get_bool(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool or_else);
CK_ULONG session_get_number(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);
/* Text of CKA_LABEL, or NULL where it is empty. Transfer full. */
char *session_get_label(const Session *session, CK_OBJECT_HANDLE object);
/* The name of the slot that the object is part of, or NULL. Transfer full. */
char *session_get_name(const Session *session, CK_OBJECT_HANDLE object);
/* From a public key's attributes, or a private RSA key's. NULL for what OpenSSL can't hold. Transfer full. */
EVP_PKEY *session_get_public_key(const Session *session, CK_OBJECT_HANDLE object);
/* NULL for what is no X.509 certificate. Transfer full. */
X509 *session_get_certificate(const Session *session, CK_OBJECT_HANDLE object);

/* CKA_EC_PARAMS of an EC or Ed25519 type: the curve's object identifier. */
void template_add_curve(Template *template, KeyType type);
/* CKA_KEY_TYPE and the values of |key|'s public, or of its private key object. */
bool template_add_public_values(Template *template, EVP_PKEY *key, KeyType type, GError **error);
bool template_add_private_values(Template *template, EVP_PKEY *key, KeyType type, GError **error);
