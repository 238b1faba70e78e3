/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The authorities that the platform knows, kept below DIR/authorities so that a restart keeps them.
 *
 * An authority starts as a provisioning certificate (template.pem: a subject, extensions and an end, signed
 * by a key that was thrown away). Once the certificate that an agent made from it is imported, it is
 * registered under serial number and thumbprint and has a channel. Its index (OpenSSL's CA database,
 * protocol.md 3.4) holds what was issued through it and what was revoked. Main thread; X509 and X509_STORE
 * may be referenced for a job. */

#include "tests/platform/openssl-types.h"

typedef struct Authority {
    char *name;    /* what --ca= says; unique */
    char *channel; /* its channel_id, also its folder's name */
    char *folder;
    X509 *template;
    X509 *certificate;   /* NULL until imported, and so are the following */
    X509_STORE *anchors; /* |certificate| alone */
    char *serial;        /* protocol.md section 5 */
    char *thumbprint;
    GString *index; /* one line an entry */
} Authority;

typedef struct Registry Registry;

Registry *registry_open(const char *directory, GError **error);
void registry_free(Registry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Registry, registry_free)

typedef struct AuthorityPlan {
    const char *name;    /* its common name, too */
    const char *subject; /* "C=US, O=Example, CN=Name", or NULL for a usual one */
    gint64 days;
    gint64 path_length;     /* -1: none */
    const char *crl_url;    /* CDP, or NULL */
    const char *issuer_url; /* AIA caIssuers, or NULL */
} AuthorityPlan;

/* Owned by the registry. */
Authority *registry_create(Registry *registry, const AuthorityPlan *plan, GError **error);

/* Registers |pem| for the authority named |name|, or for the one whose template has its subject (|name|
 * NULL). Its subject and extensions must be the template's, and its end not later. */
Authority *registry_import(Registry *registry, const char *pem, const char *name, GError **error);

/* By name, thumbprint or channel. |error| says which there are. */
Authority *registry_find(Registry *registry, const char *name, GError **error);
Authority *registry_find_channel(Registry *registry, const char *channel);
/* |serial| may be what the original agent sends for a short serial number (protocol.md section 5). */
Authority *registry_find_registered(Registry *registry, const char *serial, const char *thumbprint);

guint registry_size(const Registry *registry);
Authority *registry_at(const Registry *registry, guint index);
/* The number of the authority with |channel|. */
guint registry_index(const Registry *registry, const char *channel);

/* Lower-case hex as of protocol.md section 5. Transfer full. */
char *normalised_serial(X509 *certificate);
char *normalised_thumbprint(X509 *certificate);

/* Notes a certificate that was issued through |authority|. */
bool authority_note_issued(Authority *authority, X509 *certificate, GError **error);
/* |what|: SERIAL or SERIAL,REASON (hex; reason as in protocol.md 3.4). A serial number that isn't in the
 * index is added to it. */
bool authority_revoke(Authority *authority, const char *what, GError **error);
