/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table by path, and three kinds of trouble. PC/SC has a key a second after udev, so that a missing reader
 * is spoken of only some time later; that timer does nothing else. */

#include "daemon/token/yubikey/usb-keys.h"
#include <string.h>

#define READER_SECONDS 5

#define PLACE_SERVICE "pcscd"
#define PLACE_READERS "smart card readers"

typedef struct UsbKey {
    bool ccid;
    guint bus, number;
    char *place; /* of its own trouble; NULL: none */
} UsbKey;

struct UsbKeys {
    UsbKeysTroubleFunc trouble;
    void *userdata;
    GHashTable *keys; /* path → UsbKey */
    GHashTable *left; /* addresses that were used and are free now */
    char *service;
    guint cards;
    guint timer;
    char *said_of_service;
    bool said_of_readers;
};

static void usb_key_free(void *data)
{
    UsbKey *key = data;
    g_free(key->place);
    g_free(key);
}

UsbKeys *usb_keys_new(UsbKeysTroubleFunc trouble, void *userdata)
{
    UsbKeys *keys = g_new0(UsbKeys, 1);
    keys->trouble = trouble;
    keys->userdata = userdata;
    keys->keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, usb_key_free);
    keys->left = g_hash_table_new(NULL, NULL);
    return keys;
}

void usb_keys_free(UsbKeys *keys)
{
    if (!keys)
        return;
    g_clear_handle_id(&keys->timer, g_source_remove);
    g_hash_table_unref(keys->keys);
    g_hash_table_unref(keys->left);
    g_free(keys->service);
    g_free(keys->said_of_service);
    g_free(keys);
}

static gpointer address(guint bus, guint number)
{
    return GUINT_TO_POINTER(bus << 16 | number);
}

/* Keys that PC/SC should have. */
static guint count_cards_to_come(const UsbKeys *keys)
{
    GHashTableIter iter;
    gpointer key;
    guint count = 0;
    g_hash_table_iter_init(&iter, keys->keys);
    while (g_hash_table_iter_next(&iter, NULL, &key))
        count += ((const UsbKey *)key)->ccid;
    return count;
}

static void say_of_service(UsbKeys *keys)
{
    g_autofree char *sentence = keys->service && count_cards_to_come(keys) > 0
                                    ? g_strdup_printf("A YubiKey is plugged in, but %s", keys->service)
                                    : g_strdup("");
    if (g_strcmp0(keys->said_of_service ? keys->said_of_service : "", sentence) == 0)
        return;
    keys->trouble(PLACE_SERVICE, sentence, keys->userdata);
    g_free(keys->said_of_service);
    keys->said_of_service = g_steal_pointer(&sentence);
}

static bool lacks_reader(const UsbKeys *keys)
{
    return !keys->service && keys->cards < count_cards_to_come(keys);
}

static void say_of_readers(UsbKeys *keys, bool missing)
{
    if (keys->said_of_readers == missing)
        return;
    keys->said_of_readers = missing;
    keys->trouble(PLACE_READERS,
                  missing ? "A YubiKey is plugged in that the smart card service (pcscd) has no reader for; "
                            "install its driver (Debian: apt install libccid) and run: systemctl restart "
                            "pcscd.socket pcscd. Where another program uses the key without pcscd (GnuPG's "
                            "scdaemon), end that: gpgconf --kill scdaemon"
                          : "",
                  keys->userdata);
}

static gboolean on_time(gpointer userdata)
{
    UsbKeys *keys = userdata;
    keys->timer = 0;
    say_of_readers(keys, lacks_reader(keys));
    return G_SOURCE_REMOVE;
}

static void review(UsbKeys *keys)
{
    say_of_service(keys);
    if (!lacks_reader(keys)) {
        g_clear_handle_id(&keys->timer, g_source_remove);
        say_of_readers(keys, false);
    } else if (keys->timer == 0 && !keys->said_of_readers) {
        keys->timer = g_timeout_add_seconds(READER_SECONDS, on_time, keys);
    }
}

void usb_keys_add(UsbKeys *keys, const char *path, const char *model, bool ccid, guint bus, guint number)
{
    UsbKey *key = g_new0(UsbKey, 1);
    *key = (UsbKey){.ccid = ccid, .bus = bus, .number = number};
    g_hash_table_remove(keys->left, address(bus, number));
    if (!ccid) {
        const char *port = strrchr(path, '/');
        key->place = g_strdup_printf("USB port %s", port ? port + 1 : path);
        g_autofree char *sentence = g_strdup_printf(
            "The %s in %s can't be used: it has no smart card interface (CCID), or that is switched "
            "off; switch it on with: ykman config usb --enable PIV",
            model, key->place);
        keys->trouble(key->place, sentence, keys->userdata);
    }
    g_hash_table_insert(keys->keys, g_strdup(path), key);
    review(keys);
}

bool usb_keys_remove(UsbKeys *keys, const char *path, guint *ret_bus, guint *ret_number)
{
    const UsbKey *key = g_hash_table_lookup(keys->keys, path);
    if (!key)
        return false;
    *ret_bus = key->bus;
    *ret_number = key->number;
    if (key->bus > 0 && key->number > 0)
        g_hash_table_add(keys->left, address(key->bus, key->number));
    if (key->place)
        keys->trouble(key->place, "", keys->userdata);
    g_hash_table_remove(keys->keys, path);
    review(keys);
    return true;
}

bool usb_keys_left(const UsbKeys *keys, guint bus, guint number)
{
    return g_hash_table_contains(keys->left, address(bus, number));
}

void usb_keys_set_service(UsbKeys *keys, const char *trouble)
{
    g_free(keys->service);
    keys->service = g_strdup(trouble);
    review(keys);
}

void usb_keys_set_cards(UsbKeys *keys, guint cards)
{
    keys->cards = cards;
    review(keys);
}
