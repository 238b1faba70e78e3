/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One sealed file a token, one list of refused PINs for all. The key for fingerprints is another one than the
 * key for sealing, so that neither can be used for the other's job. */

#include "daemon/pin-store.h"
#include "daemon/state-file.h"
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

static const SealingKind pins = {"pins", "PIN", IOTHSM_ERROR_PIN_REQUIRED,
                                 "give it again with iothsmctl pin set"};

enum { FINGERPRINT_KEY_SIZE = 32, REFUSED_SIZE_MAX = 1 << 20 };

struct PinStore {
    gint references; /* atomic */
    Sealing *sealing;
    Secret *fingerprint_key; /* always there; random where there is no sealing key */
    GMutex lock;             /* guards refused and its file */
    GHashTable *refused;     /* "SERIAL HEX" as a set */
};

static Secret *random_key(void)
{
    char *bytes = NULL;
    g_autoptr(Secret) key = secret_new_blank(FINGERPRINT_KEY_SIZE, &bytes);
    return RAND_priv_bytes((unsigned char *)bytes, FINGERPRINT_KEY_SIZE) == 1 ? g_steal_pointer(&key) : NULL;
}

static char *refused_path(const PinStore *store)
{
    return g_build_filename(sealing_state_directory(store->sealing), pins.directory, "refused", NULL);
}

static bool load_refused(PinStore *store, GError **error)
{
    if (!sealing_available(store->sealing))
        return true;
    g_autofree char *path = refused_path(store);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) bytes = state_file_read(path, REFUSED_SIZE_MAX, &failure);
    if (failure)
        return state_file_set_aside(path, failure->message, error);
    if (!bytes)
        return true;
    g_autofree char *text = g_strndup(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        if (**line)
            g_hash_table_add(store->refused, g_strdup(*line));
    return true;
}

PinStore *pin_store_new(Sealing *sealing, GError **error)
{
    g_autoptr(PinStore) store = g_new0(PinStore, 1);
    g_mutex_init(&store->lock);
    store->references = 1;
    store->sealing = sealing_ref(sealing);
    store->refused = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    store->fingerprint_key =
        sealing_available(sealing) ? sealing_derive(sealing, "iothsm refused pin fingerprint") : random_key();
    if (!store->fingerprint_key) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key for refused PINs can't be made");
        return NULL;
    }
    return load_refused(store, error) ? g_steal_pointer(&store) : NULL;
}

PinStore *pin_store_ref(PinStore *store)
{
    g_atomic_int_inc(&store->references);
    return store;
}

void pin_store_unref(PinStore *store)
{
    if (!store || !g_atomic_int_dec_and_test(&store->references))
        return;
    sealing_unref(store->sealing);
    secret_unref(store->fingerprint_key);
    g_hash_table_unref(store->refused);
    g_mutex_clear(&store->lock);
    g_free(store);
}

const Sealing *pin_store_sealing(const PinStore *store)
{
    return store->sealing;
}

bool pin_store_save(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    return sealing_write(store->sealing, &pins, serial, pin, error);
}

Secret *pin_store_load(PinStore *store, const char *serial, GError **error)
{
    return sealing_read(store->sealing, &pins, serial, error);
}

bool pin_store_forget(PinStore *store, const char *serial, GError **error)
{
    return sealing_forget(store->sealing, &pins, serial, error);
}

/* "SERIAL HEX": an HMAC over serial and PIN, so that equal PINs of two tokens look different. */
static char *fingerprint(const PinStore *store, const char *serial, const Secret *pin)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    gsize serial_size = strlen(serial) + 1;
    gsize size = serial_size + secret_size(pin);
    char *text = NULL;
    g_autoptr(Secret) both = secret_new_blank(size, &text);
    unsigned int mac_size = 0;

    memcpy(text, serial, serial_size);
    memcpy(text + serial_size, secret_data(pin), secret_size(pin));
    HMAC(EVP_sha256(), secret_data(store->fingerprint_key), (int)secret_size(store->fingerprint_key),
         (const unsigned char *)text, size, mac, &mac_size);

    g_autofree char *name = g_uri_escape_string(serial, NULL, FALSE);
    GString *line = g_string_new(name);
    g_string_append_c(line, ' ');
    for (unsigned int i = 0; i < mac_size; i++)
        g_string_append_printf(line, "%02x", mac[i]);
    return g_string_free(line, FALSE);
}

static bool write_refused(PinStore *store, GError **error)
{
    if (!sealing_available(store->sealing))
        return true;
    g_autoptr(GString) text = g_string_new(NULL);
    GHashTableIter iterator;
    gpointer line;
    g_hash_table_iter_init(&iterator, store->refused);
    while (g_hash_table_iter_next(&iterator, &line, NULL))
        g_string_append_printf(text, "%s\n", (const char *)line);
    g_autofree char *path = refused_path(store);
    return state_file_write(path, text->str, text->len, error);
}

bool pin_store_note_refused(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return !g_hash_table_add(store->refused, fingerprint(store, serial, pin)) || write_refused(store, error);
}

bool pin_store_was_refused(PinStore *store, const char *serial, const Secret *pin)
{
    g_autofree char *line = fingerprint(store, serial, pin);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return g_hash_table_contains(store->refused, line);
}

bool pin_store_note_accepted(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    g_autofree char *line = fingerprint(store, serial, pin);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return !g_hash_table_remove(store->refused, line) || write_refused(store, error);
}

static gboolean belongs_to(gpointer line, gpointer value, gpointer prefix)
{
    return g_str_has_prefix(line, prefix);
}

bool pin_store_clear_refused(PinStore *store, const char *serial, GError **error)
{
    g_autofree char *name = g_uri_escape_string(serial, NULL, FALSE);
    g_autofree char *prefix = g_strdup_printf("%s ", name);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return g_hash_table_foreach_remove(store->refused, belongs_to, prefix) == 0 ||
           write_refused(store, error);
}
