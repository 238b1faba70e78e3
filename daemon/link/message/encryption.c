/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Encrypted messages. Ours are AES-256-CBC for one recipient, RSA (key transport) or EC (key agreement). What
 * we open is enveloped-data with any content cipher that OpenSSL's default provider has: whoever could choose
 * a weak one has already been verified as the platform, and harms only its own message. AuthEnvelopedData is
 * not what the platform speaks, and refused.
 *
 * Opening takes the key alone. A RecipientInfo names a certificate by issuer and serial number, and the
 * channel certificate is renewed every five minutes over the same key. Without a certificate OpenSSL tries
 * each recipient and, where none fits, goes on with a random content key (RFC 3218), so a wrong key looks
 * like wrong padding or garbage. All of that is one error here, in the words that inflating uses too. */

#include "daemon/error.h"
#include "daemon/link/message/cms-content.h"
#include "daemon/link/message/envelope.h"
#include "daemon/link/message/unopenable.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/err.h>

/* Each costs a private-key operation. */
enum { RECIPIENTS_MAX = 16 };

char *envelope_encrypt(GBytes *content, X509 *recipient, GError **error)
{
    g_autoptr(BIO) in = cms_content_source(content, error);
    if (!in)
        return NULL;
    STACK_OF(X509) *recipients = sk_X509_new_null();
    sk_X509_push(recipients, recipient);
    g_autoptr(CMS_ContentInfo) cms = CMS_encrypt(recipients, in, EVP_aes_256_cbc(), CMS_BINARY);
    sk_X509_free(recipients);
    if (!cms) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED,
                          "Can't encrypt a message to the platform's certificate");
        return NULL;
    }
    return cms_content_to_smime(cms, SMIME_ENVELOPED_DATA, error);
}

static bool is_enveloped(CMS_ContentInfo *cms)
{
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_enveloped)
        return false;
    int recipients = sk_CMS_RecipientInfo_num(CMS_get0_RecipientInfos(cms));
    return recipients > 0 && recipients <= RECIPIENTS_MAX;
}

GBytes *envelope_decrypt(GBytes *smime, EVP_PKEY *key, GError **error)
{
    gsize size = 0;
    const char *text = g_bytes_get_data(smime, &size);
    g_autoptr(CMS_ContentInfo) cms = cms_content_from_smime(text, size, NULL);
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());

    bool opened = cms && is_enveloped(cms) && CMS_decrypt(cms, key, NULL, NULL, out, CMS_BINARY) == 1;
    ERR_clear_error();
    if (!opened) {
        unopenable(error);
        return NULL;
    }
    return cms_content_take(g_steal_pointer(&out));
}
