/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/link/recipe.h"
#include "daemon/link/message/cms-content.h"
#include <string.h>

const char text[] = "{\"siguuid\":\"9b1f6a0e\"}";

GBytes *content_of(const char *words)
{
    return g_bytes_new(words, strlen(words));
}

EnvelopeSigned *verify(const char *smime, GError **error)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    return envelope_verify(smime, strlen(smime), trust, error);
}

void assert_believed(const char *smime, const char *words, const char *by)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = verify(smime, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(message->content, NULL), g_bytes_get_size(message->content), words,
                    strlen(words));
    g_assert_cmpint(X509_cmp(message->signer, signer(by)->certificate), ==, 0);
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - message->signing_time;
    g_assert_cmpint(age, >=, 0);
    g_assert_cmpint(age, <, 60);
}

void assert_refused_by(const char *smime, SignerPurpose purpose, IothsmError code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeTrust) trust = signer_trust(purpose);
    g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
    g_assert_null(message);
    g_assert_error(error, IOTHSM_ERROR, (gint)code);
    if (!strstr(error->message, words))
        g_error("\"%s\" does not say \"%s\"", error->message, words);
}

void assert_refused(const char *smime, IothsmError code, const char *words)
{
    assert_refused_by(smime, SIGNER_PURPOSE_SMIMESIGN, code, words);
}

CMS_ContentInfo *cook(const Recipe *recipe)
{
    unsigned flags = CMS_BINARY | recipe->flags;
    X509 *certificate = recipe->by ? signer(recipe->by)->certificate : recipe->certificate;
    EVP_PKEY *key = recipe->by ? signer(recipe->by)->key : recipe->key;
    BIO *in = BIO_new_mem_buf(text, -1);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, flags | CMS_PARTIAL);
    g_assert_nonnull(cms);
    if (recipe->type) {
        ASN1_OBJECT *type = OBJ_txt2obj(recipe->type, 1);
        g_assert_true(CMS_set1_eContentType(cms, type));
        ASN1_OBJECT_free(type);
    }
    const EVP_MD *digest = EVP_get_digestbyname(recipe->digest ? recipe->digest : "sha256");
    g_assert_nonnull(CMS_add1_signer(cms, certificate, key, digest, flags));
    if (recipe->second)
        g_assert_nonnull(
            CMS_add1_signer(cms, recipe->second->certificate, recipe->second->key, digest, flags));
    for (int i = 0; i < recipe->copies; i++)
        g_assert_true(CMS_add1_cert(cms, recipe->extra));
    g_assert_true(CMS_final(cms, in, NULL, flags));
    BIO_free(in);
    return cms;
}

char *serve(CMS_ContentInfo *cms)
{
    g_autoptr(GError) error = NULL;
    char *smime = cms_content_to_smime(cms, SMIME_SIGNED_DATA, &error);
    g_assert_no_error(error);
    CMS_ContentInfo_free(cms);
    return smime;
}

char *signed_by(const char *name)
{
    return serve(cook(&(Recipe){.by = name}));
}
