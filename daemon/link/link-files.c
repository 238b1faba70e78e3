/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The trust anchor first: without it nothing is tried, whatever the roots are. */

#include "daemon/link/link-files.h"

#include "daemon/ca/trust.h"

LinkFiles *link_files_read(const char *verification_ca, const char *tls_ca)
{
    LinkFiles *files = g_new0(LinkFiles, 1);
    files->pinned = trust_open_platform(verification_ca, &files->error);
    if (!files->pinned || !tls_ca)
        return files;
    files->roots = g_tls_file_database_new(tls_ca, &files->error);
    if (!files->roots) {
        g_prefix_error(&files->error, "The TLS roots of TlsCa= could not be read from %s: ", tls_ca);
        g_clear_pointer(&files->pinned, X509_STORE_free);
    }
    return files;
}

void link_files_free(LinkFiles *files)
{
    if (!files)
        return;
    X509_STORE_free(files->pinned);
    g_clear_object(&files->roots);
    g_clear_error(&files->error);
    g_free(files);
}
