/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making, keeping and reading the platform's own certificates. A file that is missing is made; one whose
 * certificate is over is made again; one that can't be read is an error, because an agent may have pinned it.
 */

#include "tests/platform/pki.h"
#include <glib/gstdio.h>
#include <openssl/rsa.h>
#include <sys/stat.h>

enum {
    DAY = 24 * 60 * 60,
    SERIAL_BITS = 159,
};

static const CertificatePlan verification_ca_plan = {
    .subject = (const char *const[]){"CN", "IoT HSM Message Verification CA", "O",
                                     "IoT-HSM platform stand-in", NULL},
    .extensions = (const char *const[]){"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                        "critical,keyCertSign,cRLSign", "subjectKeyIdentifier", "hash",
                                        "authorityKeyIdentifier", "keyid:always", NULL},
    .starts_in = -DAY,
    .lasts = 7300LL * DAY,
};

static const CertificatePlan intermediate_plan = {
    .subject =
        (const char *const[]){"CN", "IoT HSM Message Issuing CA", "O", "IoT-HSM platform stand-in", NULL},
    .extensions = (const char *const[]){"basicConstraints", "critical,CA:TRUE,pathlen:0", "keyUsage",
                                        "critical,keyCertSign,cRLSign", "subjectKeyIdentifier", "hash",
                                        "authorityKeyIdentifier", "keyid:always", NULL},
    .starts_in = -DAY,
    .lasts = 3650LL * DAY,
};

static const CertificatePlan signer_plan = {
    .subject = (const char *const[]){"CN", "IoT HSM Message Signer", "O", "IoT-HSM platform stand-in", NULL},
    .extensions =
        (const char *const[]){"subjectKeyIdentifier", "hash", "authorityKeyIdentifier", "keyid:always",
                              "keyUsage", "critical,digitalSignature,keyEncipherment", "extendedKeyUsage",
                              "emailProtection", NULL},
    .starts_in = -DAY,
    .lasts = 730LL * DAY,
};

static const CertificatePlan rogue_ca_plan = {
    .subject = (const char *const[]){"CN", "Some Public Root CA", NULL},
    .extensions = (const char *const[]){"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                        "critical,keyCertSign,cRLSign", "subjectKeyIdentifier", "hash",
                                        "authorityKeyIdentifier", "keyid:always", NULL},
    .starts_in = -DAY,
    .lasts = 7300LL * DAY,
};

static const CertificatePlan tls_ca_plan = {
    .subject = (const char *const[]){"CN", "IoT-HSM platform stand-in TLS CA", NULL},
    .extensions = (const char *const[]){"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                        "critical,keyCertSign,cRLSign", "subjectKeyIdentifier", "hash",
                                        "authorityKeyIdentifier", "keyid:always", NULL},
    .starts_in = -DAY,
    .lasts = 7300LL * DAY,
};

static const CertificatePlan tls_server_plan = {
    .subject = (const char *const[]){"CN", "localhost", NULL},
    .extensions =
        (const char *const[]){"subjectKeyIdentifier", "hash", "authorityKeyIdentifier", "keyid:always",
                              "basicConstraints", "critical,CA:FALSE", "keyUsage",
                              "critical,digitalSignature,keyEncipherment", "extendedKeyUsage", "serverAuth",
                              "subjectAltName", "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1", NULL},
    .starts_in = -DAY,
    .lasts = 365LL * DAY,
};

EVP_PKEY *pki_new_key(const char *type, GError **error)
{
    EVP_PKEY *key = NULL;
    if (g_str_equal(type, "rsa2048"))
        key = EVP_RSA_gen(2048);
    else if (g_str_equal(type, "rsa3072"))
        key = EVP_RSA_gen(3072);
    else if (g_str_equal(type, "rsa4096"))
        key = EVP_RSA_gen(4096);
    else if (g_str_equal(type, "p256"))
        key = EVP_EC_gen("P-256");
    else if (g_str_equal(type, "p384"))
        key = EVP_EC_gen("P-384");
    else if (g_str_equal(type, "p521"))
        key = EVP_EC_gen("P-521");
    else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "Key type \"%s\" is not known; use rsa2048, rsa3072, rsa4096, p256, p384 or p521", type);
        return NULL;
    }
    if (!key)
        openssl_failed(error, "Making a key failed");
    return key;
}

X509_REQ *pki_new_request(EVP_PKEY *key, const char *common_name, GError **error)
{
    g_autoptr(X509_REQ) request = X509_REQ_new();
    X509_NAME *name = X509_REQ_get_subject_name(request);
    if ((common_name && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                   (const unsigned char *)common_name, -1, -1, 0) != 1) ||
        X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(request, key) != 1 ||
        X509_REQ_sign(request, key, EVP_sha256()) <= 0) {
        openssl_failed(error, "Making a certificate request failed");
        return NULL;
    }
    return g_steal_pointer(&request);
}

static bool set_serial(X509 *certificate)
{
    g_autoptr(BIGNUM) number = BN_new();
    return BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
}

static bool add_extensions(X509 *certificate, X509 *issuer, const char *const *pairs)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer ?: certificate, certificate, NULL, NULL, 0);
    for (gsize i = 0; pairs && pairs[i]; i += 2) {
        int nid = OBJ_txt2nid(pairs[i]);
        g_autoptr(X509_EXTENSION) extension = X509V3_EXT_nconf_nid(NULL, &context, nid, pairs[i + 1]);
        if (!extension || X509_add_ext(certificate, extension, -1) != 1)
            return false;
    }
    return true;
}

X509 *pki_issue(const CertificatePlan *plan, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                GError **error)
{
    g_autoptr(X509) certificate = X509_new();
    bool ok = X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
              X509_gmtime_adj(X509_getm_notBefore(certificate), (long)plan->starts_in) &&
              X509_gmtime_adj(X509_getm_notAfter(certificate), (long)plan->lasts) &&
              X509_set_pubkey(certificate, key) == 1;
    X509_NAME *subject = X509_get_subject_name(certificate);
    for (gsize i = 0; ok && plan->subject[i]; i += 2)
        ok = X509_NAME_add_entry_by_txt(subject, plan->subject[i], MBSTRING_UTF8,
                                        (const unsigned char *)plan->subject[i + 1], -1, -1, 0) == 1;
    ok = ok && X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject) == 1 &&
         add_extensions(certificate, issuer, plan->extensions) &&
         X509_sign(certificate, issuer_key ?: key, EVP_sha256()) > 0;
    if (!ok) {
        openssl_failed(error, "Making a certificate failed");
        return NULL;
    }
    return g_steal_pointer(&certificate);
}

bool pki_save(const char *path, X509 *certificate, EVP_PKEY *key, GError **error)
{
    g_autofree char *certificate_pem = certificate ? certificate_to_pem(certificate) : g_strdup("");
    g_autofree char *key_pem = key ? private_key_to_pem(key) : g_strdup("");
    g_autofree char *text = g_strconcat(certificate_pem, key_pem, NULL);
    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

/* Reads NAME.pem and NAME.key.pem. NOT_FOUND if there are none, or their time is nearly over. */
static bool load(const char *directory, const char *name, X509 **ret_certificate, EVP_PKEY **ret_key,
                 GError **error)
{
    g_autofree char *certificate_path = g_strdup_printf("%s/%s.pem", directory, name);
    g_autofree char *key_path = g_strdup_printf("%s/%s.key.pem", directory, name);
    g_autofree char *certificate_pem = NULL;
    g_autofree char *key_pem = NULL;
    if (!g_file_test(certificate_path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "%s is not there", certificate_path);
        return false;
    }
    if (!g_file_get_contents(certificate_path, &certificate_pem, NULL, error) ||
        !g_file_get_contents(key_path, &key_pem, NULL, error))
        return false;
    g_autoptr(X509) certificate = certificate_from_pem(certificate_pem, -1, error);
    g_autoptr(EVP_PKEY) key = certificate ? private_key_from_pem(key_pem, -1, error) : NULL;
    if (!key) {
        g_prefix_error(error, "%s or its key can't be read: ", certificate_path);
        return false;
    }
    time_t soon = time(NULL) + DAY;
    if (X509_cmp_time(X509_get0_notAfter(certificate), &soon) < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "%s is over", certificate_path);
        return false;
    }
    *ret_certificate = g_steal_pointer(&certificate);
    *ret_key = g_steal_pointer(&key);
    return true;
}

/* Reads what is kept as NAME, or makes it as |plan| below |issuer| and keeps it. */
static bool load_or_make(const char *directory, const char *name, const CertificatePlan *plan,
                         const char *key_type, X509 *issuer, EVP_PKEY *issuer_key, X509 **ret_certificate,
                         EVP_PKEY **ret_key, GError **error)
{
    g_autoptr(GError) missing = NULL;
    if (load(directory, name, ret_certificate, ret_key, &missing))
        return true;
    if (!g_error_matches(missing, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&missing));
        return false;
    }
    g_autoptr(EVP_PKEY) key = pki_new_key(key_type, error);
    g_autoptr(X509) certificate = key ? pki_issue(plan, key, issuer, issuer_key, error) : NULL;
    g_autofree char *certificate_path = g_strdup_printf("%s/%s.pem", directory, name);
    g_autofree char *key_path = g_strdup_printf("%s/%s.key.pem", directory, name);
    if (!certificate || !pki_save(key_path, NULL, key, error) ||
        !pki_save(certificate_path, certificate, NULL, error))
        return false;
    *ret_certificate = g_steal_pointer(&certificate);
    *ret_key = g_steal_pointer(&key);
    return true;
}

static bool open_signer(Pki *pki, const char *key_type, bool intermediate, GError **error)
{
    const char *directory = pki->directory;
    g_autofree char *name = g_strdup_printf("signer-%s%s", key_type, intermediate ? "-via-intermediate" : "");
    if (!intermediate)
        return load_or_make(directory, name, &signer_plan, key_type, pki->anchor, pki->anchor_key,
                            &pki->signer.certificate, &pki->signer.key, error);
    g_autoptr(X509) middle = NULL;
    g_autoptr(EVP_PKEY) middle_key = NULL;
    if (!load_or_make(directory, "intermediate", &intermediate_plan, "rsa2048", pki->anchor, pki->anchor_key,
                      &middle, &middle_key, error) ||
        !load_or_make(directory, name, &signer_plan, key_type, middle, middle_key, &pki->signer.certificate,
                      &pki->signer.key, error))
        return false;
    pki->signer.chain = sk_X509_new_null();
    return sk_X509_push(pki->signer.chain, g_steal_pointer(&middle)) > 0;
}

static bool open_rogue(Pki *pki, GError **error)
{
    g_autoptr(X509) root = NULL;
    g_autoptr(EVP_PKEY) root_key = NULL;
    return load_or_make(pki->directory, "rogue-ca", &rogue_ca_plan, "rsa2048", NULL, NULL, &root, &root_key,
                        error) &&
           load_or_make(pki->directory, "rogue-signer", &signer_plan, "rsa2048", root, root_key,
                        &pki->rogue.certificate, &pki->rogue.key, error);
}

/* Signers below the true anchor that are no good. They use the true signer's key and live in memory only. */
static bool make_unfit(Pki *pki, GError **error)
{
    CertificatePlan expired = signer_plan;
    expired.starts_in = -2 * DAY;
    expired.lasts = -DAY;
    pki->expired.key = EVP_PKEY_dup(pki->signer.key);
    pki->expired.certificate = pki_issue(&expired, pki->expired.key, pki->anchor, pki->anchor_key, error);
    pki->tls.key = EVP_PKEY_dup(pki->signer.key);
    pki->tls.certificate = pki->expired.certificate ? pki_issue(&tls_server_plan, pki->tls.key, pki->anchor,
                                                                pki->anchor_key, error)
                                                    : NULL;
    return pki->tls.certificate != NULL;
}

Pki *pki_open(const char *directory, const char *key_type, bool intermediate, GError **error)
{
    g_autoptr(Pki) pki = g_new0(Pki, 1);
    pki->directory = g_strdup(directory);
    if (!g_str_equal(key_type, "rsa2048") && !g_str_equal(key_type, "p256")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "The message signer can't have a key of type \"%s\"; use rsa2048 or p256", key_type);
        return NULL;
    }
    if (!load_or_make(directory, "verification-ca", &verification_ca_plan, "rsa2048", NULL, NULL,
                      &pki->anchor, &pki->anchor_key, error) ||
        !open_signer(pki, key_type, intermediate, error) || !open_rogue(pki, error) ||
        !make_unfit(pki, error))
        return NULL;
    return g_steal_pointer(&pki);
}

static void signer_clear(Signer *signer)
{
    X509_free(signer->certificate);
    EVP_PKEY_free(signer->key);
    sk_X509_pop_free(signer->chain, X509_free);
}

void pki_free(Pki *pki)
{
    if (!pki)
        return;
    g_free(pki->directory);
    X509_free(pki->anchor);
    EVP_PKEY_free(pki->anchor_key);
    signer_clear(&pki->signer);
    signer_clear(&pki->rogue);
    signer_clear(&pki->expired);
    signer_clear(&pki->tls);
    g_free(pki);
}

GTlsCertificate *pki_tls_certificate(const Pki *pki, GError **error)
{
    g_autoptr(X509) root = NULL;
    g_autoptr(EVP_PKEY) root_key = NULL;
    g_autoptr(X509) server = NULL;
    g_autoptr(EVP_PKEY) server_key = NULL;
    if (!load_or_make(pki->directory, "tls-ca", &tls_ca_plan, "rsa2048", NULL, NULL, &root, &root_key,
                      error) ||
        !load_or_make(pki->directory, "tls-server", &tls_server_plan, "rsa2048", root, root_key, &server,
                      &server_key, error))
        return NULL;
    g_autofree char *certificate_pem = certificate_to_pem(server);
    g_autofree char *key_pem = private_key_to_pem(server_key);
    g_autofree char *both = g_strconcat(certificate_pem, key_pem, NULL);
    return g_tls_certificate_new_from_pem(both, -1, error);
}
