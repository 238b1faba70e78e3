/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One thing that the platform wants signed, from its JSON to the text of the answer, in three steps that run
 * on three different threads at most and share nothing but this object:
 *
 *   new      reads and checks the whole request, verifies the CSR, and fixes everything that a signature made
 *            twice must have in common: serial number and dates (the "intent", durable before the token is
 *            asked). Any mistake in the request ends here.
 *   sign     builds the certificate, CRL or CMS and signs it with the CA's key, then verifies what came back
 *            with the CA's public key: nothing unverified leaves (a fault in RSA-CRT leaks the key).
 *   text     what goes into "message".
 *
 * certificate.c, crl.c and cms.c are the three kinds; this file is what they have in common. Nothing here
 * knows tokens, threads or the link. Error texts are the ones the platform may see: one short, stable line
 * (protocol.md C), no paths, no OpenSSL queue text. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

typedef struct Signing Signing;

typedef struct SigningRules {
    bool crl_rfc5280; /* [Crl] Form=rfc5280: v2 with AKI and CRL number (the number is the thisUpdate time) */
    const EVP_MD *digest; /* NULL: SHA-256, or what the template asks for and the key can do */
} SigningRules;

/* |signtype| is "csr", "crl" or "cms"; |request| the member of that name (protocol.md 3); |ca| the CA's
 * certificate. |now| in seconds since the epoch. |intent|: what signing_intent gave the first time this very
 * request was seen, or NULL. Transfer full. */
Signing *signing_new(const char *signtype, JsonObject *request, X509 *ca, const SigningRules *rules,
                     gint64 now, const char *intent, GError **error);
void signing_free(Signing *signing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Signing, signing_free)

/* Transfer none: compact JSON, for example {"serial":"4b38…","notBefore":…,"notAfter":…}. */
const char *signing_intent(const Signing *signing);

/* For the log: "certificate for CN=srv.example.test", "CRL with 12 entries", "CMS message of 5 bytes". */
const char *signing_summary(const Signing *signing);

/* Until it succeeded once. |error| says what OpenSSL and the token's driver said: for the log, never for the
 * platform. */
bool signing_sign(Signing *signing, EVP_PKEY *key, GError **error);

/* Transfer none: the answer's `message`, NULL before signing_sign succeeded. For a CRL it is the PEM to be
 * delivered. */
const char *signing_text(const Signing *signing);

/* True where the result goes by HTTPS first and the answer only confirms it (CRL, protocol.md 4). */
bool signing_is_delivered(const Signing *signing);
