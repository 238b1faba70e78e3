/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See memory-file.h. */

#include "tests/virtual-yubikey/memory-file.h"
#include <gio/gio.h>
#include <string.h>

/* The first error stays, so that a reader can ask for everything and look once. */
typedef struct FileReader {
    GKeyFile *file;
    GError *error;
} FileReader;

static guint read_number(FileReader *reader, const char *group, const char *name)
{
    guint64 number = g_key_file_get_uint64(reader->file, group, name, reader->error ? NULL : &reader->error);
    return (guint)number;
}

static GBytes *read_bytes(FileReader *reader, const char *group, const char *name)
{
    gsize length = 0;
    g_autofree char *text =
        g_key_file_get_string(reader->file, group, name, reader->error ? NULL : &reader->error);
    guchar *bytes = g_base64_decode(text ? text : "", &length);
    return g_bytes_new_take(bytes, length);
}

static void read_block(FileReader *reader, const char *group, const char *name, guint8 *block, gsize size)
{
    g_autoptr(GBytes) bytes = read_bytes(reader, group, name);
    if (!reader->error && g_bytes_get_size(bytes) != size)
        g_set_error(&reader->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s of [%s] has a wrong length",
                    name, group);
    if (!reader->error)
        memcpy(block, g_bytes_get_data(bytes, NULL), size);
}

static void write_bytes(GKeyFile *file, const char *group, const char *name, const void *bytes, gsize length)
{
    g_autofree char *text = g_base64_encode(bytes, length);
    g_key_file_set_string(file, group, name, text);
}

static void write_number(GKeyFile *file, const char *group, const char *name, guint number)
{
    g_key_file_set_uint64(file, group, name, number);
}

static void read_reference(FileReader *reader, const char *group, Reference *reference)
{
    read_block(reader, group, "value", reference->value, PIN_LENGTH);
    reference->tries = (guint8)read_number(reader, group, "tries");
    reference->left = (guint8)read_number(reader, group, "left");
}

static void write_reference(GKeyFile *file, const char *group, const Reference *reference)
{
    write_bytes(file, group, "value", reference->value, PIN_LENGTH);
    write_number(file, group, "tries", reference->tries);
    write_number(file, group, "left", reference->left);
}

static void read_management(FileReader *reader, ManagementKey *management)
{
    management->algorithm = (guint8)read_number(reader, "management", "algorithm");
    management->touch_policy = (guint8)read_number(reader, "management", "touch");
    read_block(reader, "management", "key", management->key, MANAGEMENT_KEY_LONGEST);
}

static void write_management(GKeyFile *file, const ManagementKey *management)
{
    write_number(file, "management", "algorithm", management->algorithm);
    write_number(file, "management", "touch", management->touch_policy);
    write_bytes(file, "management", "key", management->key, MANAGEMENT_KEY_LONGEST);
}

static void read_key(FileReader *reader, const char *group, Memory *memory)
{
    guint slot = (guint)g_ascii_strtoull(group + strlen("slot "), NULL, 16);
    SlotKey contents = {
        .algorithm = algorithm_find((guint8)read_number(reader, group, "algorithm"), memory->firmware),
        .pin_policy = (guint8)read_number(reader, group, "pin"),
        .touch_policy = (guint8)read_number(reader, group, "touch"),
        .origin = (guint8)read_number(reader, group, "origin"),
    };
    g_autoptr(GBytes) bytes = read_bytes(reader, group, "key");
    const guint8 *der = g_bytes_get_data(bytes, NULL);
    g_autoptr(EVP_PKEY) key = d2i_AutoPrivateKey(NULL, &der, (long)g_bytes_get_size(bytes));
    if (!reader->error && (!key || !contents.algorithm))
        g_set_error(&reader->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "[%s] holds no key", group);
    if (!reader->error)
        memory_put_key(memory, (guint8)slot, &contents, g_steal_pointer(&key));
}

static void write_key(GKeyFile *file, guint slot, const SlotKey *contents)
{
    g_autofree char *group = g_strdup_printf("slot %02x", slot);
    guchar *der = NULL;
    int length = i2d_PrivateKey(contents->key, &der);
    g_assert(length > 0);
    write_number(file, group, "algorithm", contents->algorithm->id);
    write_number(file, group, "pin", contents->pin_policy);
    write_number(file, group, "touch", contents->touch_policy);
    write_number(file, group, "origin", contents->origin);
    write_bytes(file, group, "key", der, (gsize)length);
    OPENSSL_clear_free(der, (size_t)length);
}

static void read_object(FileReader *reader, const char *group, Memory *memory)
{
    guint object = (guint)g_ascii_strtoull(group + strlen("object "), NULL, 16);
    g_autoptr(GBytes) bytes = read_bytes(reader, group, "data");
    memory_put_object(memory, object, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
}

static void write_object(GKeyFile *file, guint object, GBytes *bytes)
{
    g_autofree char *group = g_strdup_printf("object %x", object);
    write_bytes(file, group, "data", g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
}

bool memory_file_read(Memory *memory, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    FileReader reader = {.file = file};
    if (!g_key_file_load_from_file(file, memory->path, G_KEY_FILE_NONE, error))
        return false;
    memory->firmware = read_number(&reader, "key", "firmware");
    memory->serial = read_number(&reader, "key", "serial");
    memory->has_attestation = read_number(&reader, "key", "attestation") != 0;
    read_reference(&reader, "pin", &memory->pin);
    read_reference(&reader, "puk", &memory->puk);
    read_management(&reader, &memory->management);
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group; group++)
        if (g_str_has_prefix(*group, "slot "))
            read_key(&reader, *group, memory);
        else if (g_str_has_prefix(*group, "object "))
            read_object(&reader, *group, memory);
    memory->changed = false;
    if (reader.error)
        g_propagate_prefixed_error(error, reader.error, "%s can't be read: ", memory->path);
    return !reader.error;
}

bool memory_file_write(const Memory *memory, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    GHashTableIter iter;
    gpointer name, value;
    gsize length;
    write_number(file, "key", "firmware", memory->firmware);
    write_number(file, "key", "serial", memory->serial);
    write_number(file, "key", "attestation", memory->has_attestation);
    write_reference(file, "pin", &memory->pin);
    write_reference(file, "puk", &memory->puk);
    write_management(file, &memory->management);
    for (g_hash_table_iter_init(&iter, memory->keys); g_hash_table_iter_next(&iter, &name, &value);)
        write_key(file, GPOINTER_TO_UINT(name), value);
    for (g_hash_table_iter_init(&iter, memory->objects); g_hash_table_iter_next(&iter, &name, &value);)
        write_object(file, GPOINTER_TO_UINT(name), value);
    g_autofree char *text = g_key_file_to_data(file, &length, NULL);
    return g_file_set_contents_full(memory->path, text, (gssize)length, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                    error);
}
