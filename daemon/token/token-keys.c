/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* New keys for a token: choosing the slot, generating, importing. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-file.h"
#include "daemon/token/token-private.h"

static bool slot_is_taken(const Token *token, const char *name)
{
    for (guint i = 0; i < token->acts->len; i++)
        if (g_strcmp0(((const Act *)g_ptr_array_index(token->acts, i))->slot, name) == 0)
            return true;
    return false;
}

/* Elsewhere they would silently be without effect. */
static bool check_policies(const Token *token, const KeyOptions *options, GError **error)
{
    bool wanted = options && (options->pin_policy || options->touch_policy);
    if (!wanted || backend_is_piv(token->driver->backend))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                "Token %s has no %s policies (YubiKeys have); leave the option out", token->driver->serial,
                options->touch_policy ? "touch" : "PIN");
    return false;
}

/* As the token lists it; what names no slot at all, the token refuses in its own words. */
static char *usual_name(const Token *token, const char *spelling)
{
    const BackendClass *class = token->driver->backend->class;
    const char *name = class->slot_name ? class->slot_name(spelling) : NULL;
    return g_strdup(name ? name : spelling);
}

/* "" is the first free slot that no other act is about to fill. Transfer full. */
static char *choose_slot(const Token *token, const char *wanted, GError **error)
{
    if (wanted && wanted[0])
        return usual_name(token, wanted);
    const char *const *names = token_free_slots(token);
    for (guint i = 0; names[i]; i++)
        if (!slot_is_taken(token, names[i]))
            return g_strdup(names[i]);
    if (token->probed && !token_key_types(token)[0])
        return g_strdup(""); /* it takes no keys from us, and says so itself */
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                token->probed ? "Token %s has no free slot left; clear one first"
                              : "Token %s has not been read yet; try again in a moment",
                token->driver->serial);
    return NULL;
}

static Act *key_act_new(Token *token, ActRunFunc run, const KeyOptions *options, TextDoneFunc done,
                        void *userdata)
{
    Act *act = act_new(token, run);
    if (options) {
        act->label = g_strdup(options->label);
        act->pin_policy = g_strdup(options->pin_policy);
        act->touch_policy = g_strdup(options->touch_policy);
    }
    act->text_done = done;
    act->userdata = userdata;
    return act;
}

static KeyOptions options_of(const Act *act)
{
    return (KeyOptions){
        .pin_policy = act->pin_policy, .touch_policy = act->touch_policy, .label = act->label};
}

static bool run_generate(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    KeyOptions options = options_of(act);
    return backend->class->generate_key(backend, act->slot, act->key_type, &options, cancelled, error);
}

void token_generate_key(Token *token, const char *slot, KeyType type, const KeyOptions *options,
                        GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    g_autoptr(GError) error = NULL;
    Act *act = key_act_new(token, run_generate, options, done, userdata);
    act->key_type = type;
    if (!check_policies(token, options, &error) ||
        (token->worker && !(act->slot = choose_slot(token, slot, &error)))) {
        act_refuse(act, g_steal_pointer(&error));
        return;
    }
    act->operation = g_strdup_printf("generating %s in slot %s", key_type_to_string(type), act->slot);
    act_submit(act, cancellable);
}

static bool run_import(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    KeyOptions options = options_of(act);
    g_autoptr(EVP_PKEY) key = key_file_parse(act->secret, act->other, error);
    return key && backend->class->import_key(backend, act->slot, key, &options, error);
}

void token_import_key(Token *token, const char *slot, Secret *pem, Secret *passphrase,
                      const KeyOptions *options, GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    g_autoptr(GError) error = NULL;
    Act *act = key_act_new(token, run_import, options, done, userdata);
    act->secret = secret_ref(pem);
    act->other = passphrase ? secret_ref(passphrase) : NULL;
    if (!check_policies(token, options, &error) ||
        (token->worker && !(act->slot = choose_slot(token, slot, &error)))) {
        act_refuse(act, g_steal_pointer(&error));
        return;
    }
    act->operation = g_strdup_printf("importing a key into slot %s", act->slot);
    act_submit(act, cancellable);
}
