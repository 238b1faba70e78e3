/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whom the daemon believes: certificates that the operator has given, by purpose. `platform` is the one
 * pinned message verification CA ([Platform] VerificationCa=, by default STATE/trust/pkiaas.io.pem), `yubico`
 * the attestation roots. An X509_STORE made here holds exactly these and never OpenSSL's default paths. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* SHA-256 of pkiaas.io's published verification CA (protocol.md 1.8), lower-case hex. */
#define TRUST_PKIAAS_IO_FINGERPRINT "322303e93dc22eec7387b01129fb654fe3edc51bfac26d930a3c16d9cfe9082a"

/* A store with exactly the certificates of the PEM file |path|. A missing file is IOTHSM_ERROR_LINK_DOWN with
 * the sentence that tells where to get it and the command. Transfer full. Blocks (a small file). */
X509_STORE *trust_open_platform(const char *path, GError **error);

/* A store with exactly the attestation roots that the operator has given; NULL without an error: none.
 * Transfer full. Blocks (a small file). */
X509_STORE *trust_open_yubico(const char *state_directory, GError **error);

/* Checks |pem| (exactly one CA certificate), writes it to |path| for platform or STATE/trust/yubico.pem
 * (appended) for yubico. Blocks: runs on a worker. */
bool trust_add(const char *state_directory, const char *platform_path, const char *purpose, const char *pem,
               GError **error);

/* [{purpose, subject, fingerprint, notAfter, known}]; |known| names pkiaas.io's published anchor. Transfer
 * full. */
JsonArray *trust_list(const char *state_directory, const char *platform_path);
