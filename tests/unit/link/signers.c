/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys take time to make, so each identity is made when somebody first asks for it. */

#include "tests/unit/link/signers.h"
#include <string.h>

static const struct {
    const char *name;
    const char *key_type;
    const char *issuer; /* NULL: a CA of its own */
} identities[] = {
    {"pinned", "rsa2048", NULL},       {"platform", "rsa2048", "pinned"},
    {"platform-ec", "p256", "pinned"}, {"channel", "rsa2048", "pinned"},
    {"outsider-ca", "p256", NULL},     {"outsider", "rsa2048", "outsider-ca"},
};

const Signer *signer(const char *name)
{
    static Signer made[G_N_ELEMENTS(identities)];
    for (gsize i = 0; i < G_N_ELEMENTS(identities); i++) {
        if (!g_str_equal(identities[i].name, name))
            continue;
        if (made[i].certificate)
            return &made[i];
        g_autofree char *subject = g_strdup_printf("C=US,O=Example,CN=%s", name);
        made[i].key = test_new_key(identities[i].key_type);
        made[i].certificate = identities[i].issuer ? signer_certificate(subject, made[i].key,
                                                                        signer(identities[i].issuer), NULL)
                                                   : test_ca(name, made[i].key);
        return &made[i];
    }
    g_error("nobody is called %s", name);
}

X509 *signer_certificate(const char *subject, EVP_PKEY *key, const Signer *issuer, const char *eku)
{
    const char *const extensions[] = {
        "subjectKeyIdentifier",
        "hash",
        "authorityKeyIdentifier",
        "keyid:always",
        "keyUsage",
        "critical,digitalSignature,keyEncipherment,keyAgreement",
        "extendedKeyUsage",
        eku ? eku : "emailProtection",
        NULL,
    };
    return test_certificate(&(TestCertificate){.subject = subject, .extensions = extensions}, key,
                            issuer->certificate, issuer->key);
}

EnvelopeTrust *signer_trust(SignerPurpose purpose)
{
    g_autoptr(X509_STORE) store = X509_STORE_new();
    X509_STORE_add_cert(store, signer("pinned")->certificate);
    return envelope_trust_new(store, purpose);
}

char *signer_write(const char *directory, const char *name)
{
    g_autofree char *certificate = test_certificate_pem(signer(name)->certificate);
    g_autofree char *key = test_key_pem(signer(name)->key, NULL);
    g_autofree char *file = g_strdup_printf("%s.pem", name);
    g_autofree char *key_file = g_strdup_printf("%s.key", name);
    g_free(test_write(directory, key_file, key));
    return test_write(directory, file, certificate);
}

void signer_assert_printed(const char *smime, const char *const *expected)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = test_write(directory, "message", smime);
    g_autofree char *printed =
        TEST_RUN("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "SMIME", "-in", file);
    g_autoptr(GRegex) blanks = g_regex_new("\\s+", 0, 0, NULL);
    g_autofree char *joined = g_regex_replace_literal(blanks, printed, -1, 0, " ", 0, NULL);
    for (; *expected; expected++) {
        if (!strstr(joined, *expected))
            g_error("the message does not have \"%s\"", *expected);
    }
}
