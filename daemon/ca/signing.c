/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finds the kind and carries its work through the three steps. */

#include "daemon/ca/signing.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/signing-kind.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"
#include <string.h>

struct Signing {
    const SigningKind *kind;
    void *work;
    X509 *ca;
    char *intent;
    char *summary;
    char *text;
};

static const SigningKind *const kinds[] = {&certificate_signing, &crl_signing, &cms_signing};

static const SigningKind *find_kind(const char *signtype)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_strcmp0(kinds[i]->signtype, signtype) == 0)
            return kinds[i];
    return NULL;
}

static char *write_intent(const SigningKind *kind, const void *work)
{
    g_autoptr(JsonObject) object = json_object_new();
    kind->intent(work, object);
    return json_object_to_text(object);
}

Signing *signing_new(const char *signtype, JsonObject *request, X509 *ca, const SigningRules *rules,
                     gint64 now, const char *intent, GError **error)
{
    const SigningKind *kind = find_kind(signtype);
    if (!kind)
        return refuse(error, "Invalid signtype: %s", signtype ? signtype : ""), NULL;
    if (!request)
        return refuse(error, "Invalid request: not an object"), NULL;
    g_autoptr(JsonObject) recorded = intent ? json_object_parse(intent, strlen(intent), error) : NULL;
    if (intent && !recorded)
        return NULL;

    void *work = kind->new (request, ca, rules, now, recorded, error);
    if (!work)
        return NULL;
    Signing *signing = g_new0(Signing, 1);
    signing->kind = kind;
    signing->work = work;
    signing->ca = ca;
    X509_up_ref(ca);
    signing->intent = write_intent(kind, work);
    signing->summary = kind->summary(work);
    return signing;
}

void signing_free(Signing *signing)
{
    if (!signing)
        return;
    signing->kind->free(signing->work);
    X509_free(signing->ca);
    g_free(signing->intent);
    g_free(signing->summary);
    g_free(signing->text);
    g_free(signing);
}

const char *signing_intent(const Signing *signing)
{
    return signing->intent;
}

const char *signing_summary(const Signing *signing)
{
    return signing->summary;
}

bool signing_sign(Signing *signing, EVP_PKEY *key, GError **error)
{
    g_return_val_if_fail(!signing->text, false);
    signing->text = signing->kind->sign(signing->work, signing->ca, key, error);
    return signing->text != NULL;
}

const char *signing_text(const Signing *signing)
{
    return signing->text;
}

bool signing_is_delivered(const Signing *signing)
{
    return signing->kind->delivered;
}
