/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one certificate that the agent issues for itself. The platform knows it by its subject text. */

#include "daemon/ca/channel-certificate.h"
#include "daemon/ca/extensions.h"
#include "daemon/ca/issue.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"

#define CHANNEL_SUBJECT "IoT HSM SMIME Cert for PKIaaS.io Validation"
enum { SECONDS_BEFORE = 300, SECONDS_AFTER = 600 };
enum { DIGITAL_SIGNATURE = 0, KEY_ENCIPHERMENT = 2, DATA_ENCIPHERMENT = 3 }; /* bits of RFC 5280 4.2.1.3 */

static bool add_usages(X509_EXTENSIONS *extensions, GError **error)
{
    g_autoptr(ASN1_BIT_STRING) usage = ASN1_BIT_STRING_new();
    g_autoptr(EXTENDED_KEY_USAGE) extended = sk_ASN1_OBJECT_new_null();

    ASN1_BIT_STRING_set_bit(usage, DIGITAL_SIGNATURE, 1);
    ASN1_BIT_STRING_set_bit(usage, KEY_ENCIPHERMENT, 1);
    ASN1_BIT_STRING_set_bit(usage, DATA_ENCIPHERMENT, 1);
    sk_ASN1_OBJECT_push(extended, OBJ_nid2obj(NID_email_protect));
    return extension_add(extensions, NID_key_usage, true, usage, error) &&
           extension_add(extensions, NID_ext_key_usage, true, extended, error);
}

X509 *channel_certificate_issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *channel_key, const EVP_MD *digest,
                                gint64 now, GError **error)
{
    g_autoptr(X509_NAME) subject = X509_NAME_new();
    g_autoptr(X509_EXTENSIONS) extensions = sk_X509_EXTENSION_new_null();
    g_autoptr(ASN1_INTEGER) serial = serial_random(error);

    if (!serial || !add_usages(extensions, error))
        return NULL;
    if (X509_NAME_add_entry_by_NID(subject, NID_commonName, V_ASN1_UTF8STRING,
                                   (const unsigned char *)CHANNEL_SUBJECT, -1, -1, 0) != 1)
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The channel certificate's subject cannot be made"),
               NULL;
    const CertificatePlan plan = {
        .serial = serial,
        .validity = {now - SECONDS_BEFORE, now + SECONDS_AFTER},
        .subject = subject,
        .public_key = channel_key,
        .issuer = ca,
        .extensions = extensions,
    };
    g_autoptr(X509) certificate = certificate_plan_build(&plan, error);
    return certificate ? certificate_sign(certificate, ca_key, ca, channel_key, digest, error) : NULL;
}
