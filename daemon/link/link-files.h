/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the link has to read from files before it can work: the pinned CA that verifies the platform's
 * messages, and the roots of TLS where the operator gave some. Read on a worker, or before the main loop. */

#include <gio/gio.h>
#include <openssl/x509.h>

typedef struct LinkFiles {
    X509_STORE *pinned;
    GTlsDatabase *roots; /* NULL: the system's */
    GError *error;       /* in words: what could not be read; the others are NULL then */
} LinkFiles;

/* Never NULL. |tls_ca| may be NULL. Blocks. Transfer full. */
LinkFiles *link_files_read(const char *verification_ca, const char *tls_ca);
void link_files_free(LinkFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LinkFiles, link_files_free)
