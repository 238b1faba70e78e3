/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file is its synced content and a list of writes since. Reading goes to the real file, which has all of
 * them. Without shared memory: the journal locks its file exclusively. */

#include "tests/unit/link/power.h"
#include <glib/gstdio.h>
#include <sqlite3.h>
#include <string.h>

#define SECTOR 512

typedef struct Write {
    sqlite3_int64 offset;
    GBytes *bytes; /* NULL: truncated to |offset| */
} Write;

/* What is known of a path, also after it was closed. */
typedef struct Image {
    char *path;
    GByteArray *synced;
    GQueue writes; /* Write, since then */
    bool deleted;
    bool name_synced; /* that it is there, or is not: a directory is synced, too */
} Image;

typedef struct File {
    sqlite3_file base;
    Image *image;       /* NULL: a temporary file */
    bool syncs_names;   /* with its first sync, as SQLite's own files do for a journal */
    sqlite3_file *real; /* behind this */
} File;

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static GMutex mutex;
static GHashTable *images; /* path to Image */
static guint operations;
static guint cut;
static bool off;

static void write_free(void *data)
{
    Write *write = data;
    g_clear_pointer(&write->bytes, g_bytes_unref);
    g_free(write);
}

static void image_free(void *data)
{
    Image *image = data;
    g_byte_array_unref(image->synced);
    g_queue_clear_full(&image->writes, write_free);
    g_free(image->path);
    g_free(image);
}

static Image *image_of(const char *path)
{
    Image *image = g_hash_table_lookup(images, path);
    if (image)
        return image;
    image = g_new0(Image, 1);
    image->path = g_strdup(path);
    image->synced = g_byte_array_new();
    g_autofree char *contents = NULL;
    gsize size = 0;
    image->name_synced = g_file_get_contents(path, &contents, &size, NULL);
    if (image->name_synced)
        g_byte_array_append(image->synced, (const guint8 *)contents, (guint)size);
    g_hash_table_insert(images, image->path, image);
    return image;
}

/* With the mutex held. False: the power is off; |*ret_now|: it went off with this very operation. */
static bool has_power(bool *ret_now)
{
    *ret_now = false;
    if (off)
        return false;
    operations++;
    off = *ret_now = cut > 0 && operations == cut;
    return !off;
}

static void note(Image *image, sqlite3_int64 offset, const void *data, gsize size)
{
    Write *write = g_new0(Write, 1);
    *write = (Write){offset, data ? g_bytes_new(data, size) : NULL};
    g_queue_push_tail(&image->writes, write);
}

static void apply(GByteArray *content, const Write *write)
{
    gsize size = 0;
    const void *data = write->bytes ? g_bytes_get_data(write->bytes, &size) : NULL;
    guint end = (guint)write->offset + (guint)size;
    guint before = content->len;
    if (!data || end > content->len) {
        g_byte_array_set_size(content, end);
        if (end > before)
            memset(content->data + before, 0, end - before);
    }
    if (data)
        memcpy(content->data + write->offset, data, size);
}

/* --- files ------------------------------------------------------------------------------------------- */

static sqlite3_file *real(sqlite3_file *file)
{
    return ((File *)file)->real;
}

static int close_file(sqlite3_file *file)
{
    return real(file)->pMethods ? real(file)->pMethods->xClose(real(file)) : SQLITE_OK;
}

static int read_file(sqlite3_file *file, void *buffer, int size, sqlite3_int64 offset)
{
    return real(file)->pMethods->xRead(real(file), buffer, size, offset);
}

static int write_file(sqlite3_file *file, const void *buffer, int size, sqlite3_int64 offset)
{
    Image *image = ((File *)file)->image;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    bool now;
    bool power = has_power(&now);
    if (image && (power || now))
        note(image, offset, buffer, (gsize)size);
    return power ? real(file)->pMethods->xWrite(real(file), buffer, size, offset) : SQLITE_IOERR_WRITE;
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size)
{
    Image *image = ((File *)file)->image;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    bool now;
    bool power = has_power(&now);
    if (image && (power || now))
        note(image, size, NULL, 0);
    return power ? real(file)->pMethods->xTruncate(real(file), size) : SQLITE_IOERR_TRUNCATE;
}

static void sync_names(void)
{
    GHashTableIter iter;
    void *image;
    g_hash_table_iter_init(&iter, images);
    while (g_hash_table_iter_next(&iter, NULL, &image))
        ((Image *)image)->name_synced = true;
}

static int sync_file(sqlite3_file *file, int flags)
{
    File *ours = (File *)file;
    Image *image = ours->image;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    bool now;
    if (!has_power(&now))
        return SQLITE_IOERR_FSYNC;
    Write *write;
    while (image && (write = g_queue_pop_head(&image->writes))) {
        apply(image->synced, write);
        write_free(write);
    }
    if (ours->syncs_names)
        sync_names();
    ours->syncs_names = false;
    return SQLITE_OK;
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return real(file)->pMethods->xFileSize(real(file), ret_size);
}

static int lock_file(sqlite3_file *file, int lock)
{
    return real(file)->pMethods->xLock(real(file), lock);
}

static int unlock_file(sqlite3_file *file, int lock)
{
    return real(file)->pMethods->xUnlock(real(file), lock);
}

static int check_lock(sqlite3_file *file, int *ret_locked)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), ret_locked);
}

static int control_file(sqlite3_file *file, int operation, void *argument)
{
    return real(file)->pMethods->xFileControl(real(file), operation, argument);
}

static int sector_size(sqlite3_file *file)
{
    return SECTOR;
}

static int characteristics(sqlite3_file *file)
{
    return 0; /* it promises nothing */
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = size_of_file,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = check_lock,
    .xFileControl = control_file,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
};

/* --- the file system --------------------------------------------------------------------------------- */

static void make_anew(Image *image)
{
    g_byte_array_set_size(image->synced, 0);
    g_queue_clear_full(&image->writes, write_free);
    image->deleted = false;
    image->name_synced = false;
}

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *ret_flags)
{
    File *ours = (File *)file;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    ours->base.pMethods = NULL;
    if (off)
        return SQLITE_CANTOPEN;
    ours->real = (sqlite3_file *)(ours + 1);
    ours->image = path ? image_of(path) : NULL;
    ours->syncs_names = flags & SQLITE_OPEN_CREATE && flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
    if (ours->image && ours->image->deleted)
        make_anew(ours->image);
    int code = below->xOpen(below, path, ours->real, flags, ret_flags);
    ours->base.pMethods = code == SQLITE_OK ? &methods : NULL;
    return code;
}

static int delete_file(sqlite3_vfs *self, const char *path, int sync_directory)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    bool now;
    if (!has_power(&now))
        return SQLITE_IOERR_DELETE;
    image_of(path)->deleted = true;
    image_of(path)->name_synced = false;
    if (sync_directory)
        sync_names();
    return below->xDelete(below, path, 0);
}

static int has_access(sqlite3_vfs *self, const char *path, int flags, int *ret_granted)
{
    return below->xAccess(below, path, flags, ret_granted);
}

static int full_path(sqlite3_vfs *self, const char *path, int size, char *ret_path)
{
    return below->xFullPathname(below, path, size, ret_path);
}

void power_install(void)
{
    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.iVersion = 1;
    vfs.pNext = NULL;
    vfs.zName = "power";
    vfs.szOsFile = (int)sizeof(File) + below->szOsFile;
    vfs.xOpen = open_file;
    vfs.xDelete = delete_file;
    vfs.xAccess = has_access;
    vfs.xFullPathname = full_path;
    images = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, image_free);
    g_assert_cmpint(sqlite3_vfs_register(&vfs, 1), ==, SQLITE_OK);
}

void power_cut_at(guint operation)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    operations = 0;
    cut = operation;
}

guint power_operations(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    return operations;
}

bool power_is_off(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    return off;
}

/* --- after the cut ----------------------------------------------------------------------------------- */

static void apply_some(GByteArray *content, const Write *write, GRand *dice)
{
    gsize size = 0;
    const guint8 *data = write->bytes ? g_bytes_get_data(write->bytes, &size) : NULL;
    if (!data && g_rand_boolean(dice))
        apply(content, write);
    for (gsize at = 0; at < size; at += SECTOR) {
        if (!g_rand_boolean(dice))
            continue;
        g_autoptr(GBytes) sector = g_bytes_new(data + at, MIN(size - at, SECTOR));
        apply(content, &(Write){write->offset + (sqlite3_int64)at, sector});
    }
}

static void restore_image(Image *image, PowerLoss loss, GRand *dice)
{
    g_autoptr(GByteArray) content = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    bool name_lost = !image->name_synced &&
                     (loss == POWER_LOSES_ALL || (loss == POWER_LOSES_SOME && g_rand_boolean(dice)));
    if (image->deleted != name_lost) {
        g_unlink(image->path);
        return;
    }
    g_byte_array_append(content, image->synced->data, image->synced->len);
    for (GList *link = image->writes.head; link; link = link->next) {
        if (loss == POWER_LOSES_NOTHING)
            apply(content, link->data);
        else if (loss == POWER_LOSES_SOME)
            apply_some(content, link->data, dice);
    }
    g_file_set_contents_full(image->path, (const char *)content->data, content->len, G_FILE_SET_CONTENTS_NONE,
                             0600, &error);
    g_assert_no_error(error);
}

void power_restore(PowerLoss loss, guint32 seed)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
    g_autoptr(GRand) dice = g_rand_new_with_seed(seed);
    GHashTableIter iter;
    void *image;
    g_hash_table_iter_init(&iter, images);
    while (g_hash_table_iter_next(&iter, NULL, &image))
        restore_image(image, loss, dice);
    g_hash_table_remove_all(images);
    off = false;
    cut = 0;
    operations = 0;
}
