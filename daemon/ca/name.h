/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a certificate is called outside: the serial number and SHA-1 thumbprint of protocol.md 5, and one-line
 * subjects for people (RFC 2253 without the reversal, UTF-8, control characters escaped). */

#include <glib.h>
#include <openssl/x509.h>

/* Lower-case hex pairs of the serial's magnitude, no padding zero byte. Transfer full. */
char *certificate_serial(const X509 *certificate);
/* The same, or the text that the original sends for serials below 2^63 ("signature algorithm …",
 * protocol.md 5, short-serial quirk). */
char *certificate_serial_original(const X509 *certificate);
/* SHA-1 of the DER, 40 lower-case hex digits. Transfer full. */
char *certificate_thumbprint(const X509 *certificate);
/* SHA-256 of the DER, 64 lower-case hex digits. Transfer full. */
char *certificate_fingerprint(const X509 *certificate);
char *certificate_subject(const X509 *certificate);
char *certificate_issuer(const X509 *certificate);
/* Seconds since the epoch, UTC. */
gint64 certificate_not_before(const X509 *certificate);
gint64 certificate_not_after(const X509 *certificate);
/* basicConstraints CA:TRUE. */
gboolean certificate_is_ca(const X509 *certificate);

/* Exactly one certificate in |pem|, anything else is BAD_CERTIFICATE. Transfer full. */
X509 *certificate_from_pem(const char *pem, GError **error);
/* Transfer full. */
char *certificate_to_pem(X509 *certificate);
