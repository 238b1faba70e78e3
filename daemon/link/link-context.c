/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How authorities are called towards the platform: serial number and thumbprint, where short serial numbers
 * may have two texts. */

#include "daemon/link/link-context.h"

#include "daemon/ca/name.h"

char *link_context_serial(const LinkContext *context, Authority *authority)
{
    return context->config->short_serial == SHORT_SERIAL_ORIGINAL
               ? certificate_serial_original(authority_certificate(authority))
               : g_strdup(authority_serial(authority));
}

bool authority_answers_to(Authority *authority, const char *serial, const char *thumbprint)
{
    if (g_strcmp0(thumbprint, authority_thumbprint(authority)) != 0)
        return false;
    if (g_strcmp0(serial, authority_serial(authority)) == 0)
        return true;
    g_autofree char *original = certificate_serial_original(authority_certificate(authority));
    return g_strcmp0(serial, original) == 0;
}
