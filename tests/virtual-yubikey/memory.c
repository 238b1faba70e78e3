/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See memory.h. */

#include "tests/virtual-yubikey/memory.h"
#include "tests/virtual-yubikey/memory-file.h"
#include "tests/virtual-yubikey/slots.h"
#include <gio/gio.h>
#include <string.h>

#define TRIPLE_DES 0x03
#define AES_192 0x0a
#define DEFAULT_PIN "123456"
#define DEFAULT_PUK "12345678"

static const guint8 factory_management_key[24] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4,
                                                  5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};

static void slot_key_free(void *data)
{
    SlotKey *key = data;
    EVP_PKEY_free(key->key);
    g_free(key);
}

static Reference factory_reference(const char *value, guint8 tries)
{
    Reference reference = {.tries = tries, .left = tries};
    memset(reference.value, 0xff, PIN_LENGTH);
    memcpy(reference.value, value, strlen(value));
    return reference;
}

void memory_reset_references(Memory *memory, guint8 pin_tries, guint8 puk_tries)
{
    memory->pin = factory_reference(DEFAULT_PIN, pin_tries);
    memory->puk = factory_reference(DEFAULT_PUK, puk_tries);
    memory->changed = true;
}

static bool same_reference(const Reference *reference, const char *value)
{
    Reference factory = factory_reference(value, reference->tries);
    return memcmp(reference->value, factory.value, PIN_LENGTH) == 0;
}

bool memory_has_default_pin(const Memory *memory)
{
    return same_reference(&memory->pin, DEFAULT_PIN);
}

bool memory_has_default_puk(const Memory *memory)
{
    return same_reference(&memory->puk, DEFAULT_PUK);
}

static guint8 factory_algorithm(const Memory *memory)
{
    return memory->firmware >= FIRMWARE_AES_DEFAULT ? AES_192 : TRIPLE_DES;
}

bool memory_has_default_management_key(const Memory *memory)
{
    return memory->management.algorithm == factory_algorithm(memory) &&
           memcmp(memory->management.key, factory_management_key, sizeof factory_management_key) == 0;
}

static gboolean not_attestation_key(gpointer slot, gpointer key, gpointer unused)
{
    return GPOINTER_TO_UINT(slot) != SLOT_ATTESTATION;
}

static gboolean not_attestation_object(gpointer object, gpointer bytes, gpointer unused)
{
    return GPOINTER_TO_UINT(object) != OBJECT_ATTESTATION;
}

void memory_reset(Memory *memory)
{
    memory_reset_references(memory, DEFAULT_TRIES, DEFAULT_TRIES);
    memory->management = (ManagementKey){
        .algorithm = factory_algorithm(memory),
        .touch_policy = TOUCH_POLICY_NEVER,
    };
    memcpy(memory->management.key, factory_management_key, sizeof factory_management_key);
    g_hash_table_foreach_remove(memory->keys, not_attestation_key, NULL);
    g_hash_table_foreach_remove(memory->objects, not_attestation_object, NULL);
}

static bool agrees(const Memory *memory, Firmware firmware, guint32 serial, GError **error)
{
    if ((firmware == 0 || firmware == memory->firmware) && (serial == 0 || serial == memory->serial))
        return true;
    g_set_error(
        error, G_IO_ERROR, G_IO_ERROR_EXISTS,
        "%s holds a key with serial number %u and firmware %u.%u.%u; leave both away or name the same",
        memory->path, memory->serial, FIRMWARE_MAJOR(memory->firmware), FIRMWARE_MINOR(memory->firmware),
        FIRMWARE_PATCH(memory->firmware));
    return false;
}

Memory *memory_open(const char *path, Firmware firmware, guint32 serial, GError **error)
{
    g_autoptr(Memory) memory = g_new0(Memory, 1);
    memory->path = g_strdup(path);
    memory->keys = g_hash_table_new_full(NULL, NULL, NULL, slot_key_free);
    memory->objects = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_bytes_unref);
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        if (!memory_file_read(memory, error) || !agrees(memory, firmware, serial, error))
            return NULL;
        return g_steal_pointer(&memory);
    }
    memory->firmware = firmware ? firmware : FIRMWARE(5, 4, 3);
    memory->serial = serial ? serial : (guint32)g_random_int_range(10000000, 30000000);
    memory_reset(memory);
    return g_steal_pointer(&memory);
}

void memory_free(Memory *memory)
{
    if (!memory)
        return;
    g_hash_table_unref(memory->keys);
    g_hash_table_unref(memory->objects);
    g_free(memory->path);
    g_free(memory->root);
    g_free(memory);
}

bool memory_save(Memory *memory, GError **error)
{
    if (memory->changed && !memory_file_write(memory, error))
        return false;
    memory->changed = false;
    return true;
}

static void complete(Memory *memory)
{
    if (memory->has_attestation || !memory->make_attestation)
        return;
    memory->has_attestation = true;
    memory->make_attestation(memory);
}

SlotKey *memory_key(Memory *memory, guint8 slot)
{
    if (slot == SLOT_ATTESTATION)
        complete(memory);
    return g_hash_table_lookup(memory->keys, GUINT_TO_POINTER(slot));
}

void memory_put_key(Memory *memory, guint8 slot, const SlotKey *contents, EVP_PKEY *key)
{
    SlotKey *kept = g_memdup2(contents, sizeof *contents);
    if (slot == SLOT_ATTESTATION)
        complete(memory);
    kept->key = key;
    g_hash_table_replace(memory->keys, GUINT_TO_POINTER(slot), kept);
    memory->changed = true;
}

void memory_move_key(Memory *memory, guint8 from, guint8 to)
{
    gpointer key = NULL;
    if (g_hash_table_steal_extended(memory->keys, GUINT_TO_POINTER(from), NULL, &key))
        g_hash_table_replace(memory->keys, GUINT_TO_POINTER(to), key);
    memory->changed = true;
}

void memory_delete_key(Memory *memory, guint8 slot)
{
    g_hash_table_remove(memory->keys, GUINT_TO_POINTER(slot));
    memory->changed = true;
}

GBytes *memory_object(Memory *memory, guint32 object)
{
    if (object == OBJECT_ATTESTATION)
        complete(memory);
    return g_hash_table_lookup(memory->objects, GUINT_TO_POINTER(object));
}

void memory_put_object(Memory *memory, guint32 object, const guint8 *bytes, gsize length)
{
    if (object == OBJECT_ATTESTATION)
        complete(memory);
    if (length == 0)
        g_hash_table_remove(memory->objects, GUINT_TO_POINTER(object));
    else
        g_hash_table_replace(memory->objects, GUINT_TO_POINTER(object), g_bytes_new(bytes, length));
    memory->changed = true;
}
