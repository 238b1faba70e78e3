/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A YubiKey's life, and the table of what it does. */

#include "daemon/token/yubikey/yubikey.h"
#include "daemon/error.h"
#include "daemon/token/yubikey/yubikey-token.h"

bool yubikey_run(YubiKey *yubikey, YubiKeyWork work, void *data, GError **error)
{
    if (!card_begin(yubikey->card, error))
        return false;
    bool done = work(yubikey, data, error);
    card_end(yubikey->card);
    g_clear_pointer(&yubikey->proved, secret_unref);
    return done;
}

bool yubikey_run_reading(YubiKey *yubikey, YubiKeyWork work, void *data, GError **error)
{
    g_autoptr(GError) failure = NULL;
    if (yubikey_run(yubikey, work, data, &failure))
        return true;
    if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE))
        return yubikey_run(yubikey, work, data, error);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

static gpointer close_card(gpointer card)
{
    card_free(card);
    return NULL;
}

/* pcscd lets go of a card only when the command that runs on it has ended, another program's, too: that is
 * nothing for the main thread to wait for. The rest is done here: nobody waits for that thread, and secrets
 * and keys must not outlive the OpenSSL that wipes them. */
static void yubikey_free(Backend *backend)
{
    YubiKey *yubikey = (YubiKey *)backend;
    yubikey_forget_key(yubikey, NULL);
    g_hash_table_unref(yubikey->keys);
    secret_unref(yubikey->pin);
    secret_unref(yubikey->refused);
    secret_unref(yubikey->management);
    g_thread_unref(g_thread_new("yubikey-close", close_card, yubikey->card));
    g_free(yubikey);
}

/* The original agent's id: the number that PKCS#11 modules for PIV give to the slot. */
static const char *slot_other_name(const char *name)
{
    const PivSlot *slot = piv_slot_find(name);
    g_autofree char *id = slot ? g_strdup_printf("%02x", slot->pkcs11_id) : NULL;
    return id ? g_intern_string(id) : NULL;
}

static const BackendClass yubikey_class = {
    .kind = "yubikey",
    .threads = 1,
    .slot_name = yubikey_slot_name,
    .slot_other_name = slot_other_name,
    .free = yubikey_free,
    .probe = yubikey_probe,
    .login = yubikey_login,
    .logout = yubikey_logout,
    .change_pin = yubikey_change_pin,
    .unblock_pin = yubikey_unblock_pin,
    .take_refused = yubikey_take_refused,
    .set_management_key = yubikey_set_management_key,
    .forget_management_key = yubikey_forget_management_key,
    .generate_key = yubikey_generate_key,
    .import_key = yubikey_import_key,
    .write_certificate = yubikey_write_certificate,
    .attest = yubikey_attest,
    .clear_slot = yubikey_clear_slot,
    .open_key = yubikey_open_key,
    .close_key = yubikey_close_key,
};

Backend *yubikey_new(const char *reader, char **ret_serial, GError **error)
{
    g_autoptr(Card) card = card_new(reader);
    if (!card_begin(card, error))
        return NULL;
    card_end(card);
    *ret_serial = g_strdup_printf("%u", card_serial(card));
    YubiKey *yubikey = g_new0(YubiKey, 1);
    yubikey->backend.class = &yubikey_class;
    yubikey->card = g_steal_pointer(&card);
    yubikey->is_factory = -1;
    yubikey->keys = g_hash_table_new(g_str_hash, g_str_equal);
    return &yubikey->backend;
}

const char *yubikey_reader(const Backend *backend)
{
    return card_reader(((const YubiKey *)backend)->card);
}

const char *yubikey_slot_name(const char *spelling)
{
    const PivSlot *slot = piv_slot_find(spelling);
    return slot ? slot->name : NULL;
}
