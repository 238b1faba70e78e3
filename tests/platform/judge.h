/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The openssl command as a judge that shares no code with anybody here. Trust is the authority's certificate
 * alone, never the system's. Blocks. Each: true if the command says that the artefact is good. */

#include <gio/gio.h>
#include <stdbool.h>

/* |any_time|: the certificate needn't be valid now. */
bool judge_certificate(const char *pem, const char *authority_pem, bool any_time, GError **error);
bool judge_crl(const char *pem, const char *authority_pem, GError **error);
/* |form| "PEM", "SMIME" or "DER" (base64 of it). Gives the content. Transfer full. */
GBytes *judge_cms(const char *text, const char *form, const char *authority_pem, GError **error);
