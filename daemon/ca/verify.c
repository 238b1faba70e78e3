/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each kind of object, by OpenSSL's own verifier and a public key that never was on a token. */

#include "daemon/ca/verify.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"

static bool bad_signature(GError **error)
{
    return refuse_as(error, IOTHSM_ERROR_FAILED, "The signature made by the CA key is not good");
}

bool verify_certificate(X509 *certificate, X509 *issuer, EVP_PKEY *subject_key, GError **error)
{
    EVP_PKEY *issuer_key = issuer ? X509_get0_pubkey(issuer) : NULL;
    if (!certificate || !issuer_key || X509_verify(certificate, issuer_key) != 1)
        return bad_signature(error);
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    return !subject_key || (key && EVP_PKEY_eq(key, subject_key) == 1) ||
           refuse_as(error, IOTHSM_ERROR_FAILED, "The certificate is for another key than it should be");
}

bool verify_request(X509_REQ *request, GError **error)
{
    unsigned char *encoded = NULL;
    int size = i2d_X509_REQ(request, &encoded);
    const unsigned char *at = encoded;
    g_autoptr(X509_REQ) again = size > 0 ? d2i_X509_REQ(NULL, &at, size) : NULL;
    OPENSSL_free(encoded);
    EVP_PKEY *key = again ? X509_REQ_get0_pubkey(again) : NULL;
    return (key && X509_REQ_verify(again, key) == 1) || bad_signature(error);
}

bool verify_crl(X509_CRL *crl, X509 *ca, GError **error)
{
    EVP_PKEY *key = X509_get0_pubkey(ca);
    return (key && X509_CRL_verify(crl, key) == 1) || bad_signature(error);
}

bool verify_cms(CMS_ContentInfo *cms, X509 *ca, GBytes *content, GError **error)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    /* A borrowed certificate: the stack goes, the certificate stays. */
    STACK_OF(X509) *signers = sk_X509_new_null();
    sk_X509_push(signers, ca);
    bool good =
        sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) == 1 &&
        CMS_verify(cms, signers, NULL, NULL, out, CMS_BINARY | CMS_NOINTERN | CMS_NO_SIGNER_CERT_VERIFY) == 1;
    sk_X509_free(signers);
    if (!good)
        return bad_signature(error);

    char *data = NULL;
    long size = BIO_get_mem_data(out, &data);
    g_autoptr(GBytes) signed_content = g_bytes_new_static(data, (gsize)size);
    return g_bytes_equal(signed_content, content) || bad_signature(error);
}
