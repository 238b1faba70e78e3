/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* POST /control: what tests tell the stand-in, an object each. The answer is an object; a refusal has status
 * 400. Keys and versions are named as in world.h ("p256", "p256/1", or whole names). By their member "do":
 *
 * - fault: "kind", "at", "count", "status", "milliseconds", "retry_after", see faults.h
 * - clear-faults: none strikes any more
 * - quota: "at", "left", "per_second", see faults.h
 * - create-key: "key" as NAME=ALGORITHM[/PROTECTION]; gives "name"
 * - make-keys: those are made now that would be when somebody first wants them
 * - rotate: "key" gets one more version; gives its "name"
 * - state: "version", "state": ENABLED, DISABLED, DESTROY_SCHEDULED, DESTROYED
 * - forget-key: "key" is gone, as if it had never been
 * - grant: "account", "grants": roles and permissions with commas, instead of those it had
 * - tokens: "seconds" (life of new ones), "expire" (true: those in use end now)
 * - counts: gives calls by their place, "reads" (all of Cloud KMS but signing), "signatures" (sent),
 *   "connections" (that they came over), "signing" (under way) and "most-signing" (ever under way at once)
 * - reset-counts: all of them from 0 */

#include "tests/google-kms/cloud.h"
#include <string.h>

typedef JsonObject *(*ControlFunc)(Cloud *cloud, JsonObject *wish, GError **error);

static bool missing(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "There is no such %s", what);
    return false;
}

static char *whole_name(JsonObject *wish, const char *member)
{
    return world_whole_name(member_text(wish, member) ?: "");
}

static JsonObject *do_fault(Cloud *cloud, JsonObject *wish, GError **error)
{
    return faults_add(cloud->faults, wish, error) ? json_object_new() : NULL;
}

static JsonObject *do_clear_faults(Cloud *cloud, JsonObject *wish, GError **error)
{
    faults_clear(cloud->faults);
    return json_object_new();
}

static JsonObject *do_quota(Cloud *cloud, JsonObject *wish, GError **error)
{
    return faults_set_quota(cloud->faults, wish, error) ? json_object_new() : NULL;
}

static JsonObject *do_create_key(Cloud *cloud, JsonObject *wish, GError **error)
{
    CryptoKey *key = world_add_key(cloud->world, member_text(wish, "key") ?: "", error);
    if (!key)
        return NULL;
    world_save(cloud->world);
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "name", key->name);
    return answer;
}

static JsonObject *do_make_keys(Cloud *cloud, JsonObject *wish, GError **error)
{
    for (guint i = 0; i < cloud->world->keys->len; i++) {
        const CryptoKey *key = g_ptr_array_index(cloud->world->keys, i);
        for (guint j = 0; j < key->versions->len; j++) {
            KeyVersion *version = g_ptr_array_index(key->versions, j);
            if (version->algorithm->signs)
                (void)world_version_key(cloud->world, version);
        }
    }
    return json_object_new();
}

static JsonObject *do_rotate(Cloud *cloud, JsonObject *wish, GError **error)
{
    g_autofree char *name = whole_name(wish, "key");
    CryptoKey *key = world_key(cloud->world, name);
    if (!key && !missing(error, "key"))
        return NULL;
    KeyVersion *version = world_rotate(key, NULL);
    world_save(cloud->world);
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "name", version->name);
    return answer;
}

static JsonObject *do_state(Cloud *cloud, JsonObject *wish, GError **error)
{
    g_autofree char *name = whole_name(wish, "version");
    KeyVersion *version = world_version(cloud->world, name);
    if (!version && !missing(error, "version"))
        return NULL;
    g_free(version->state);
    version->state = g_strdup(member_text(wish, "state") ?: "ENABLED");
    world_save(cloud->world);
    return json_object_new();
}

static JsonObject *do_forget_key(Cloud *cloud, JsonObject *wish, GError **error)
{
    g_autofree char *name = whole_name(wish, "key");
    CryptoKey *key = world_key(cloud->world, name);
    if (!key && !missing(error, "key"))
        return NULL;
    g_ptr_array_remove(cloud->world->keys, key);
    world_save(cloud->world);
    return json_object_new();
}

static JsonObject *do_grant(Cloud *cloud, JsonObject *wish, GError **error)
{
    Account *account = world_account_by_name(cloud->world, member_text(wish, "account") ?: "");
    if (!account && !missing(error, "account"))
        return NULL;
    g_strfreev(account->grants);
    account->grants = g_strsplit(member_text(wish, "grants") ?: "", ",", -1);
    world_save(cloud->world);
    return json_object_new();
}

static JsonObject *do_tokens(Cloud *cloud, JsonObject *wish, GError **error)
{
    cloud->token_life = json_object_get_int_member_with_default(wish, "seconds", cloud->token_life);
    if (json_object_get_boolean_member_with_default(wish, "expire", FALSE))
        g_hash_table_remove_all(cloud->tokens);
    return json_object_new();
}

static JsonObject *do_counts(Cloud *cloud, JsonObject *wish, GError **error)
{
    JsonObject *answer = json_object_new();
    guint64 reads = 0;
    for (Place place = 0; place < PLACE_ANY; place++) {
        json_object_set_int_member(answer, place_to_string(place), (gint64)cloud->counts[place]);
        if (place >= PLACE_LOCATIONS && place != PLACE_SIGN)
            reads += cloud->counts[place];
    }
    json_object_set_int_member(answer, "reads", (gint64)reads);
    json_object_set_int_member(answer, "signatures", (gint64)cloud->signatures);
    json_object_set_int_member(answer, "connections", g_hash_table_size(cloud->ports));
    json_object_set_int_member(answer, "signing", cloud->signing);
    json_object_set_int_member(answer, "most-signing", cloud->most_signing);
    return answer;
}

static JsonObject *do_reset_counts(Cloud *cloud, JsonObject *wish, GError **error)
{
    memset(cloud->counts, 0, sizeof cloud->counts);
    cloud->signatures = 0;
    g_hash_table_remove_all(cloud->ports);
    cloud->most_signing = cloud->signing;
    return json_object_new();
}

static const struct {
    const char *name;
    ControlFunc function;
} verbs[] = {
    {"fault", do_fault},         {"clear-faults", do_clear_faults},
    {"quota", do_quota},         {"create-key", do_create_key},
    {"make-keys", do_make_keys}, {"rotate", do_rotate},
    {"state", do_state},         {"forget-key", do_forget_key},
    {"grant", do_grant},         {"tokens", do_tokens},
    {"counts", do_counts},       {"reset-counts", do_reset_counts},
};

static JsonObject *obey(Cloud *cloud, JsonObject *wish, GError **error)
{
    const char *name = wish ? member_text(wish, "do") : NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
        if (g_strcmp0(verbs[i].name, name) == 0)
            return verbs[i].function(cloud, wish, error);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "Nothing is called \"%s\"", name ?: "");
    return NULL;
}

static void handle(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                   gpointer data)
{
    Call call = {.cloud = data, .message = message};
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) wish = call_body(&call);
    JsonObject *answer = obey(data, wish, &error);
    if (answer)
        call_answer(&call, answer);
    else
        call_refuse(&call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT", "%s", error->message);
}

void control_serve(Cloud *cloud, SoupServer *server)
{
    soup_server_add_handler(server, "/control", handle, cloud, NULL);
}
