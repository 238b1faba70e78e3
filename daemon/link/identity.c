/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* STATE/agent.json: {"uuid":…, "machine":…, "next":N, "caindex":{THUMBPRINT:N, …}}.
 *
 * `machine` is systemd's hash of the machine id under an id of ours, so that the file tells nobody the
 * machine id itself. `next` only rises: a thumbprint keeps its index for ever, also while its authority is
 * away, and no index means two authorities in its life. A number whose write failed is burnt, as the file may
 * hold it all the same. */

#include "daemon/link/identity.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "daemon/state-file.h"
#include <string.h>
#include <systemd/sd-id128.h>

/* A thousand authorities take 50 kB. */
#define FILE_SIZE_MAX (4U << 20)
#define CAINDEX_MAX G_MAXINT32

static const sd_id128_t application =
    SD_ID128_MAKE(5d, 0c, e1, 47, 9a, 3b, 4e, 6f, 8d, 21, 70, c4, 1e, f9, 52, ab);

struct Identity {
    char *path;
    char *uuid;
    char *machine;       /* NULL: this machine has no id */
    GMutex mutex;        /* over the rest */
    GHashTable *indices; /* thumbprint to index */
    guint next;
};

static char *hash_of_machine(void)
{
    sd_id128_t id;
    if (sd_id128_get_machine_app_specific(application, &id) < 0)
        return NULL;
    char text[SD_ID128_STRING_MAX];
    return g_strdup(sd_id128_to_string(id, text));
}

static bool save(Identity *identity, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonObject *indices = json_object_new();
    GHashTableIter iter;
    gpointer thumbprint = NULL;
    gpointer index = NULL;

    json_object_set_string_member(object, "uuid", identity->uuid);
    if (identity->machine)
        json_object_set_string_member(object, "machine", identity->machine);
    json_object_set_int_member(object, "next", identity->next);
    g_hash_table_iter_init(&iter, identity->indices);
    while (g_hash_table_iter_next(&iter, &thumbprint, &index))
        json_object_set_int_member(indices, thumbprint, GPOINTER_TO_UINT(index));
    json_object_set_object_member(object, "caindex", indices);
    g_autofree char *text = json_object_to_text(object);
    return state_file_write(identity->path, text, strlen(text), error);
}

static bool broken(GError **error, const char *what)
{
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, what);
    return false;
}

static bool read_indices(Identity *identity, JsonObject *object, GError **error)
{
    g_autoptr(GHashTable) used = g_hash_table_new(NULL, NULL);
    g_autoptr(GList) thumbprints = json_object_get_members(object);
    for (GList *link = thumbprints; link; link = link->next) {
        gint64 index = -1;
        if (!json_get_integer(object, link->data, &index, error))
            return false;
        if (index < 0 || index >= identity->next || !g_hash_table_add(used, GINT_TO_POINTER((int)index)))
            return broken(error, "a caindex is out of range or there twice");
        g_hash_table_insert(identity->indices, g_strdup(link->data), GUINT_TO_POINTER((guint)index));
    }
    return true;
}

/* |*ret_machine|: transfer none, NULL where it was written without a machine id. */
static bool read_object(Identity *identity, JsonObject *object, const char **ret_machine, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    gint64 next = -1;
    const char *uuid = json_get_string(object, "uuid", &wrong);
    const char *machine = wrong ? NULL : json_get_string(object, "machine", &wrong);
    JsonObject *indices = wrong ? NULL : json_get_object(object, "caindex", &wrong);

    if (wrong || !json_get_integer(object, "next", &next, &wrong)) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return false;
    }
    if (!uuid || !g_uuid_string_is_valid(uuid))
        return broken(error, "uuid is not a UUID");
    if (!indices || next < 0 || next > CAINDEX_MAX)
        return broken(error, "caindex or next is missing or out of range");
    identity->next = (guint)next;
    if (!read_indices(identity, indices, error))
        return false;
    identity->uuid = g_strdup(uuid);
    *ret_machine = machine;
    return true;
}

static bool make_new(Identity *identity, GError **error)
{
    identity->uuid = g_uuid_string_random();
    return save(identity, error);
}

/* A uuid without a machine gets this one; a uuid of another machine stays there. */
static bool settle(Identity *identity, const char *machine, GError **error)
{
    if (!identity->machine || g_strcmp0(machine, identity->machine) == 0)
        return true;
    if (machine) {
        g_autofree char *old = g_steal_pointer(&identity->uuid);
        identity->uuid = g_uuid_string_random();
        log_notice("%s comes from another machine: this agent is %s from now on, no longer %s.",
                   identity->path, identity->uuid, old);
    }
    return save(identity, error);
}

Identity *identity_open(const char *state_directory, GError **error)
{
    g_autoptr(Identity) identity = g_new0(Identity, 1);
    identity->path = g_build_filename(state_directory, "agent.json", NULL);
    identity->machine = hash_of_machine();
    identity->indices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_mutex_init(&identity->mutex);

    g_autoptr(GError) failure = NULL;
    const char *machine = NULL;
    g_autoptr(GBytes) text = state_file_read(identity->path, FILE_SIZE_MAX, &failure);
    if (!text && !failure)
        return make_new(identity, error) ? g_steal_pointer(&identity) : NULL;
    gsize size = 0;
    const char *data = text ? g_bytes_get_data(text, &size) : NULL;
    g_autoptr(JsonObject) object = failure ? NULL : json_object_parse(size > 0 ? data : "", size, &failure);
    if (object && read_object(identity, object, &machine, &failure))
        return settle(identity, machine, error) ? g_steal_pointer(&identity) : NULL;

    if (!state_file_set_aside(identity->path, failure->message, error))
        return NULL;
    g_hash_table_remove_all(identity->indices);
    identity->next = 0;
    return make_new(identity, error) ? g_steal_pointer(&identity) : NULL;
}

void identity_free(Identity *identity)
{
    if (!identity)
        return;
    g_clear_pointer(&identity->indices, g_hash_table_unref);
    g_mutex_clear(&identity->mutex);
    g_free(identity->machine);
    g_free(identity->uuid);
    g_free(identity->path);
    g_free(identity);
}

const char *identity_uuid(const Identity *identity)
{
    return identity->uuid;
}

/* With the mutex held. */
static bool allocate(Identity *identity, const char *thumbprint, guint *ret_caindex, GError **error)
{
    if (identity->next >= CAINDEX_MAX) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                            "This agent has no more numbers for authorities");
        return false;
    }
    guint index = identity->next++;
    g_hash_table_insert(identity->indices, g_strdup(thumbprint), GUINT_TO_POINTER(index));
    if (!save(identity, error)) {
        g_hash_table_remove(identity->indices, thumbprint);
        return false;
    }
    *ret_caindex = index;
    return true;
}

bool identity_caindex(Identity *identity, const char *thumbprint, guint *ret_caindex, GError **error)
{
    gpointer index = NULL;
    g_mutex_lock(&identity->mutex);
    bool known = g_hash_table_lookup_extended(identity->indices, thumbprint, NULL, &index);
    if (known)
        *ret_caindex = GPOINTER_TO_UINT(index);
    bool done = known || allocate(identity, thumbprint, ret_caindex, error);
    g_mutex_unlock(&identity->mutex);
    return done;
}
