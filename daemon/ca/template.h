/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The provisioning certificate as a template: subject, extensions and Not After of the CA certificate to be
 * made, copied as DER from a certificate or a CSR (protocol.md 6.5; all extensions except SKI and AKI, which
 * are made new). Its key and its signature mean nothing. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

typedef struct Template Template;

/* |pem|: one CERTIFICATE or CERTIFICATE REQUEST; BAD_CERTIFICATE otherwise, LIMITS_EXCEEDED above 100
 * extensions. Transfer full. */
Template *template_from_pem(const char *pem, GError **error);
void template_free(Template *template);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Template, template_free)

/* {subject, notAfter?, ca, pathlen?, extensions:[{oid,name,critical,text}], kind:"certificate"|"request"}.
 * Transfer full. */
JsonObject *template_describe(const Template *template);

/* A self-signed certificate over |key| (verified): notBefore = |now|, notAfter = the template's; |digest|
 * NULL = SHA-256. |days| > 0 overrides Not After and is required for a CSR template, which has none (INVALID
 * says so). TEMPLATE_EXPIRED when Not After has passed. Transfer full. */
X509 *template_self_sign(const Template *template, EVP_PKEY *key, const EVP_MD *digest, gint64 now, int days,
                         GError **error);

/* A CSR with the subject, and the extensions as extensionRequest. Transfer full. */
X509_REQ *template_request(const Template *template, EVP_PKEY *key, const EVP_MD *digest, GError **error);
