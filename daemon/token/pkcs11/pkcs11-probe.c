/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading a whole PKCS#11 token: what it is, what it can do, and its objects put together to slots. */

#include "daemon/token/pkcs11/pkcs11-token.h"
#include <string.h>

#define FREE_SLOTS_OFFERED 32

int pkcs11_pin_retries(const Module *module, CK_FLAGS flags)
{
    if (flags & CKF_USER_PIN_LOCKED)
        return 0;
    if (module->softhsm)
        return -1;
    if (flags & CKF_USER_PIN_FINAL_TRY)
        return 1;
    return flags & CKF_USER_PIN_COUNT_LOW ? 2 : -1;
}

static PinState pin_state(const CK_TOKEN_INFO *info, bool logged_in)
{
    if ((info->flags & CKF_LOGIN_REQUIRED) == 0)
        return PIN_STATE_NOT_NEEDED;
    if (info->flags & CKF_USER_PIN_LOCKED)
        return PIN_STATE_BLOCKED;
    if (logged_in)
        return PIN_STATE_SET;
    return info->flags & CKF_USER_PIN_TO_BE_CHANGED ? PIN_STATE_FACTORY : PIN_STATE_MISSING;
}

static void add_types(GStrvBuilder *builder, const KeyType *types, gsize n_types,
                      const CK_MECHANISM_INFO *range)
{
    static const CK_ULONG bits[N_KEY_TYPES] = {
        [KEY_TYPE_RSA2048] = 2048, [KEY_TYPE_RSA3072] = 3072, [KEY_TYPE_RSA4096] = 4096,
        [KEY_TYPE_P256] = 256,     [KEY_TYPE_P384] = 384,     [KEY_TYPE_P521] = 521,
        [KEY_TYPE_ED25519] = 0};
    for (gsize i = 0; i < n_types; i++)
        if (bits[types[i]] == 0 || range->ulMaxKeySize == 0 ||
            (bits[types[i]] >= range->ulMinKeySize && bits[types[i]] <= range->ulMaxKeySize))
            g_strv_builder_add(builder, key_type_to_string(types[i]));
}

static GStrv read_key_types(Pkcs11Token *token)
{
    static const KeyType rsa[] = {KEY_TYPE_RSA2048, KEY_TYPE_RSA3072, KEY_TYPE_RSA4096};
    static const KeyType ec[] = {KEY_TYPE_P256, KEY_TYPE_P384, KEY_TYPE_P521};
    static const KeyType edwards[] = {KEY_TYPE_ED25519};
    CK_FUNCTION_LIST *functions = token->module->functions;
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    CK_MECHANISM_INFO info;
    if (functions->C_GetMechanismInfo(token->slot_id, CKM_RSA_PKCS_KEY_PAIR_GEN, &info) == CKR_OK)
        add_types(builder, rsa, G_N_ELEMENTS(rsa), &info);
    if (functions->C_GetMechanismInfo(token->slot_id, CKM_EC_KEY_PAIR_GEN, &info) == CKR_OK)
        add_types(builder, ec, G_N_ELEMENTS(ec), &info);
    if (functions->C_GetMechanismInfo(token->slot_id, CKM_EC_EDWARDS_KEY_PAIR_GEN, &info) == CKR_OK)
        add_types(builder, edwards, G_N_ELEMENTS(edwards), &info);
    return g_strv_builder_end(builder);
}

typedef struct Reading {
    GHashTable *slots; /* name → SlotInfo, owned by the TokenInfo */
    TokenInfo *info;
    bool logged_in;
} Reading;

static SlotInfo *slot_for(Reading *reading, const Session *session, CK_OBJECT_HANDLE object)
{
    g_autofree char *name = session_get_name(session, object);
    if (!name)
        return NULL;
    SlotInfo *slot = g_hash_table_lookup(reading->slots, name);
    if (!slot) {
        slot = slot_info_new(name);
        g_hash_table_insert(reading->slots, slot->name, slot);
        g_ptr_array_add(reading->info->slots, slot);
    }
    if (!slot->label)
        slot->label = session_get_label(session, object);
    return slot;
}

static void note_key(const Session *session, CK_OBJECT_HANDLE object, SlotInfo *slot)
{
    if (!slot->public_key)
        slot->public_key = session_get_public_key(session, object);
    if (slot->origin == KEY_ORIGIN_UNKNOWN)
        slot->origin =
            session_get_bool(session, object, CKA_LOCAL, false) ? KEY_ORIGIN_GENERATED : KEY_ORIGIN_IMPORTED;
}

static void note_private_key(Reading *reading, const Session *session, CK_OBJECT_HANDLE object,
                             SlotInfo *slot)
{
    slot->has_private_key = true;
    note_key(session, object, slot);
}

/* Without a login private keys are hidden; a public key is the sign that there is one. */
static void note_public_key(Reading *reading, const Session *session, CK_OBJECT_HANDLE object, SlotInfo *slot)
{
    if (!reading->logged_in)
        slot->has_private_key = true;
    note_key(session, object, slot);
}

static void note_certificate(Reading *reading, const Session *session, CK_OBJECT_HANDLE object,
                             SlotInfo *slot)
{
    if (!slot->certificate)
        slot->certificate = session_get_certificate(session, object);
}

typedef void (*NoteFunc)(Reading *reading, const Session *session, CK_OBJECT_HANDLE object, SlotInfo *slot);

static bool read_class(Reading *reading, const Session *session, CK_OBJECT_CLASS class, NoteFunc note,
                       GError **error)
{
    g_auto(Template) wanted = {.size = 0};
    template_add_number(&wanted, CKA_CLASS, class);
    g_autoptr(GArray) objects = session_find(session, &wanted, error);
    if (!objects)
        return false;
    for (guint i = 0; i < objects->len; i++) {
        CK_OBJECT_HANDLE object = g_array_index(objects, CK_OBJECT_HANDLE, i);
        SlotInfo *slot = slot_for(reading, session, object);
        if (slot)
            note(reading, session, object, slot);
    }
    return true;
}

/* What is neither a key nor an X.509 certificate makes no slot; a private key alone may show its public part
 * in the certificate only. */
static void finish_slots(TokenInfo *info)
{
    for (guint i = info->slots->len; i-- > 0;) {
        SlotInfo *slot = g_ptr_array_index(info->slots, i);
        if (!slot->certificate && !slot->has_private_key && !slot->public_key) {
            g_ptr_array_remove_index(info->slots, i);
        } else if (slot->has_private_key && !slot->public_key && slot->certificate) {
            slot->public_key = X509_get_pubkey(slot->certificate);
        }
    }
}

static GStrv name_free_slots(GHashTable *taken)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (guint id = 1; id <= FREE_SLOTS_OFFERED; id++) {
        g_autofree char *name = g_strdup_printf("%02x", id);
        if (!g_hash_table_contains(taken, name))
            g_strv_builder_add(builder, name);
    }
    return g_strv_builder_end(builder);
}

static bool read_slots(Pkcs11Token *token, const Session *session, TokenInfo *info, GError **error)
{
    g_autoptr(GHashTable) slots = g_hash_table_new(g_str_hash, g_str_equal);
    Reading reading = {slots, info, pkcs11_token_is_logged_in(token, session, NULL)};
    if (!read_class(&reading, session, CKO_PUBLIC_KEY, note_public_key, error) ||
        !read_class(&reading, session, CKO_PRIVATE_KEY, note_private_key, error) ||
        !read_class(&reading, session, CKO_CERTIFICATE, note_certificate, error))
        return false;
    info->free_slots = name_free_slots(slots);
    finish_slots(info);
    return true;
}

static bool probe(Pkcs11Token *token, const Session *session, void *data, GError **error)
{
    TokenInfo **ret_info = data;
    CK_TOKEN_INFO token_info;
    g_autoptr(TokenInfo) info = token_info_new();
    CK_RV result = session->functions->C_GetTokenInfo(token->slot_id, &token_info);
    if (!module_check(result, error, "Token %s can't be read", token->serial) ||
        !read_slots(token, session, info, error))
        return false;
    info->serial = g_strdup(token->serial);
    info->label = module_text(token_info.label, sizeof token_info.label);
    info->model = module_text(token_info.model, sizeof token_info.model);
    info->firmware =
        g_strdup_printf("%u.%u", token_info.firmwareVersion.major, token_info.firmwareVersion.minor);
    info->management_key = g_strdup("not-needed");
    info->pin_state = pin_state(&token_info, pkcs11_token_is_logged_in(token, session, NULL));
    info->pin_retries = pkcs11_pin_retries(token->module, token_info.flags);
    info->key_types = read_key_types(token);
    *ret_info = g_steal_pointer(&info);
    return true;
}

TokenInfo *pkcs11_probe(Backend *backend, GError **error)
{
    TokenInfo *info = NULL;
    return pkcs11_token_run((Pkcs11Token *)backend, probe, &info, error) ? info : NULL;
}
