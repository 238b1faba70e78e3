/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The provider lives in a library context of its own, beside "base" (whose encoders write the public key), so
 * nothing that the application fetches ever meets it. Everything public is passed on to the default provider.
 * Provider and application share one libcrypto, so errors are raised straight into its queue. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider-private.h"
#include <openssl/provider.h>

static const char *const kind_names[N_KINDS] = {"RSA", "EC", "ED25519"};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return key_provider_key_managers;
    return operation == OSSL_OP_SIGNATURE ? key_provider_signatures : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **ret_provider)
{
    static const OSSL_DISPATCH functions[] = {FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
                                              LAST};
    *ret_provider = (void *)handle;
    *out = functions;
    return 1;
}

static GPrivate explanation = G_PRIVATE_INIT((GDestroyNotify)g_error_free);

void key_provider_explain(GError *error)
{
    ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, "%s", error->message);
    g_private_replace(&explanation, error);
}

GError *key_provider_take_explanation(void)
{
    GError *error = g_private_get(&explanation);
    g_private_set(&explanation, NULL);
    return error;
}

/* One for the process: keys may live until its end. */
static OSSL_LIB_CTX *provider_context(void)
{
    static OSSL_LIB_CTX *context;
    static gsize once;
    if (g_once_init_enter(&once)) {
        OSSL_LIB_CTX *made = OSSL_LIB_CTX_new();
        if (made && OSSL_PROVIDER_add_builtin(made, PROVIDER_NAME, provider_init) &&
            OSSL_PROVIDER_load(made, PROVIDER_NAME) && OSSL_PROVIDER_load(made, "base"))
            context = made;
        g_once_init_leave(&once, 1);
    }
    return context;
}

static GPrivate limits = G_PRIVATE_INIT(NULL);

void key_provider_limit(const KeyLimits *given)
{
    g_private_set(&limits, (void *)given);
}

const KeyLimits *key_provider_limits(void)
{
    static const KeyLimits none = {G_MAXINT64, NULL};
    const KeyLimits *given = g_private_get(&limits);
    return given ? given : &none;
}

EVP_PKEY *key_provider_key(EVP_PKEY *public_key, KeySignFunc sign, void *userdata, void (*release)(void *))
{
    return key_provider_bound_key(public_key, NULL, sign, userdata, release);
}

EVP_PKEY *key_provider_bound_key(EVP_PKEY *public_key, const KeyScheme *scheme, KeySignFunc sign,
                                 void *userdata, void (*release)(void *))
{
    KeyRequest request = {public_key, scheme, sign, userdata, release};
    void *pointer = &request;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_ptr(PARAM_KEY, &pointer, sizeof request),
                           OSSL_PARAM_construct_end()};
    const char *name = NULL;
    for (int kind = 0; kind < N_KINDS && !name; kind++)
        name = EVP_PKEY_is_a(public_key, kind_names[kind]) ? kind_names[kind] : NULL;
    if (!provider_context() || !name) {
        ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR,
                       name ? "the key provider could not be started"
                            : "the key is neither RSA, EC nor Ed25519");
        return NULL;
    }
    g_autoptr(EVP_PKEY_CTX) maker =
        EVP_PKEY_CTX_new_from_name(provider_context(), name, "provider=" PROVIDER_NAME);
    EVP_PKEY *key = NULL;
    if (!maker || EVP_PKEY_fromdata_init(maker) <= 0 ||
        EVP_PKEY_fromdata(maker, &key, EVP_PKEY_KEYPAIR, params) <= 0)
        return NULL;
    return key;
}
