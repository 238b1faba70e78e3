/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The lists of Resource Manager and of Cloud KMS, and testIamPermissions: REST as Google documents it, with
 * its permissions and its quotas. */

#include "tests/google-kms/cloud.h"
#include <string.h>

#define CREATED "2024-02-29T12:00:00.123456789Z"

enum { TOO_MANY_REQUESTS = 429 };

static const char *const locations[] = {"asia-east1", "europe-west3", "europe-west4", "global", "us-east1"};

/* ---- permission ---- */

static bool allowed(Call *call, const char *permission, const char *resource)
{
    if (account_may(call->account, permission, resource))
        return true;
    call_refuse(call, SOUP_STATUS_FORBIDDEN, "PERMISSION_DENIED",
                "Permission '%s' denied on resource '%s' (or it may not exist).", permission, resource);
    return false;
}

static bool get_only(Call *call)
{
    if (g_str_equal(soup_server_message_get_method(call->message), "GET"))
        return true;
    call_refuse(call, SOUP_STATUS_NOT_FOUND, "NOT_FOUND", "The requested URL was not found on this server.");
    return false;
}

static JsonObject *new_object(const char *name)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "name", name);
    return object;
}

/* ---- Resource Manager ---- */

/* Version 1 lists, version 3 searches; they name things differently. */
static JsonObject *describe_project(const char *id, guint index, bool version3)
{
    g_autofree char *number = g_strdup_printf("%u", 415104041 + index);
    g_autofree char *name = version3 ? g_strconcat("projects/", number, NULL) : g_strdup(id);
    JsonObject *object = new_object(name);
    json_object_set_string_member(object, "projectId", id);
    json_object_set_string_member(object, "createTime", CREATED);
    json_object_set_string_member(object, version3 ? "state" : "lifecycleState", "ACTIVE");
    json_object_set_string_member(object, version3 ? "displayName" : "projectNumber", version3 ? id : number);
    return object;
}

static void answer_projects(Call *call, bool version3)
{
    GPtrArray *all = call->cloud->world->projects;
    g_autoptr(GPtrArray) visible = g_ptr_array_new();
    for (guint i = 0; i < all->len; i++) {
        g_autofree char *resource = g_strconcat("projects/", all->pdata[i], NULL);
        if (account_may(call->account, "resourcemanager.projects.get", resource))
            g_ptr_array_add(visible, all->pdata[i]);
    }
    g_autoptr(JsonObject) answer = json_object_new();
    guint first;
    guint end;
    if (!call_page(call, visible->len, answer, &first, &end))
        return;
    JsonArray *list = json_array_new();
    for (guint i = first; i < end; i++)
        json_array_add_object_element(list, describe_project(visible->pdata[i], i, version3));
    json_object_set_array_member(answer, "projects", list);
    call_answer(call, g_steal_pointer(&answer));
}

/* ---- lists of Cloud KMS ---- */

/* Answers with those of |all| (JsonObject, owned by it) on the page that is wanted; an empty list is left
 * out, as it is in all of Google's JSON. */
static void answer_list(Call *call, const char *name, GPtrArray *all, bool total)
{
    g_autoptr(JsonObject) answer = json_object_new();
    guint first;
    guint end;
    if (!call_page(call, all->len, answer, &first, &end))
        return;
    JsonArray *list = json_array_new();
    for (guint i = first; i < end; i++)
        json_array_add_object_element(list, json_object_ref(all->pdata[i]));
    if (json_array_get_length(list) > 0)
        json_object_set_array_member(answer, name, list);
    else
        json_array_unref(list);
    if (total && all->len > 0)
        json_object_set_int_member(answer, "totalSize", all->len);
    call_answer(call, g_steal_pointer(&answer));
}

static GPtrArray *new_list(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
}

static void answer_locations(Call *call, const char *project)
{
    if (!get_only(call) || !allowed(call, "cloudkms.locations.list", project))
        return;
    g_autoptr(GPtrArray) list = new_list();
    for (gsize i = 0; i < G_N_ELEMENTS(locations); i++) {
        g_autofree char *name = g_strdup_printf("%s/locations/%s", project, locations[i]);
        JsonObject *one = new_object(name);
        JsonObject *metadata = json_object_new();
        json_object_set_string_member(metadata, "@type",
                                      "type.googleapis.com/google.cloud.kms.v1.LocationMetadata");
        json_object_set_boolean_member(metadata, "hsmAvailable", TRUE);
        json_object_set_string_member(one, "locationId", locations[i]);
        json_object_set_object_member(one, "metadata", metadata);
        g_ptr_array_add(list, one);
    }
    answer_list(call, "locations", list, false);
}

static void answer_rings(Call *call, const char *location)
{
    if (!get_only(call) || !allowed(call, "cloudkms.keyRings.list", location))
        return;
    g_autofree char *prefix = g_strconcat(location, "/keyRings/", NULL);
    g_autoptr(GPtrArray) list = new_list();
    GPtrArray *rings = call->cloud->world->rings;
    for (guint i = 0; i < rings->len; i++)
        if (g_str_has_prefix(rings->pdata[i], prefix)) {
            JsonObject *one = new_object(rings->pdata[i]);
            json_object_set_string_member(one, "createTime", CREATED);
            g_ptr_array_add(list, one);
        }
    answer_list(call, "keyRings", list, true);
}

static const char *purpose(const Algorithm *algorithm)
{
    if (algorithm->signs)
        return "ASYMMETRIC_SIGN";
    return algorithm->bits ? "ASYMMETRIC_DECRYPT" : "ENCRYPT_DECRYPT";
}

static JsonObject *describe_key(const CryptoKey *key)
{
    const KeyVersion *last = key->versions->pdata[key->versions->len - 1];
    JsonObject *object = new_object(key->name);
    JsonObject *template = json_object_new();
    json_object_set_string_member(object, "purpose", purpose(last->algorithm));
    json_object_set_string_member(object, "createTime", CREATED);
    json_object_set_string_member(template, "protectionLevel", key->protection);
    json_object_set_string_member(template, "algorithm", last->algorithm->name);
    json_object_set_object_member(object, "versionTemplate", template);
    json_object_set_string_member(object, "destroyScheduledDuration", "2592000s");
    return object;
}

static void answer_keys(Call *call, const char *ring)
{
    if (!get_only(call) || !allowed(call, "cloudkms.cryptoKeys.list", ring))
        return;
    if (!world_has_ring(call->cloud->world, ring)) {
        call_refuse(call, SOUP_STATUS_NOT_FOUND, "NOT_FOUND", "KeyRing %s not found.", ring);
        return;
    }
    g_autofree char *prefix = g_strconcat(ring, "/cryptoKeys/", NULL);
    g_autoptr(GPtrArray) list = new_list();
    GPtrArray *keys = call->cloud->world->keys;
    for (guint i = 0; i < keys->len; i++) {
        const CryptoKey *key = keys->pdata[i];
        if (g_str_has_prefix(key->name, prefix))
            g_ptr_array_add(list, describe_key(key));
    }
    answer_list(call, "cryptoKeys", list, true);
}

static JsonObject *describe_version(const CryptoKey *key, const KeyVersion *version)
{
    JsonObject *object = new_object(version->name);
    json_object_set_string_member(object, "state", version->state);
    json_object_set_string_member(object, "createTime", CREATED);
    json_object_set_string_member(object, "generateTime", CREATED);
    json_object_set_string_member(object, "protectionLevel", key->protection);
    json_object_set_string_member(object, "algorithm", version->algorithm->name);
    return object;
}

/* The one filter that is understood here is by state. */
static bool state_filter(Call *call, const char **ret_state)
{
    const char *filter = call->query ? g_hash_table_lookup(call->query, "filter") : NULL;
    *ret_state = NULL;
    if (!filter || !*filter)
        return true;
    if (g_str_has_prefix(filter, "state=") || g_str_has_prefix(filter, "state:")) {
        *ret_state = filter + strlen("state=");
        return true;
    }
    call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT", "Invalid filter \"%s\".", filter);
    return false;
}

static void answer_versions(Call *call, const char *key_name)
{
    const char *state;
    if (!get_only(call) || !allowed(call, "cloudkms.cryptoKeyVersions.list", key_name) ||
        !state_filter(call, &state))
        return;
    const CryptoKey *key = world_key(call->cloud->world, key_name);
    if (!key) {
        call_refuse(call, SOUP_STATUS_NOT_FOUND, "NOT_FOUND", "CryptoKey %s not found.", key_name);
        return;
    }
    g_autoptr(GPtrArray) list = new_list();
    for (guint i = 0; i < key->versions->len; i++) {
        const KeyVersion *version = key->versions->pdata[i];
        if (!state || g_str_equal(state, version->state))
            g_ptr_array_add(list, describe_version(key, version));
    }
    answer_list(call, "cryptoKeyVersions", list, true);
}

/* ---- permissions ---- */

static void answer_permissions(Call *call, const char *resource)
{
    g_autoptr(JsonObject) body = call_body(call);
    JsonNode *node = body ? json_object_get_member(body, "permissions") : NULL;
    if (!node || !JSON_NODE_HOLDS_ARRAY(node)) {
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT", "permissions is missing.");
        return;
    }
    JsonArray *wanted = json_node_get_array(node);
    JsonArray *held = json_array_new();
    for (guint i = 0; i < json_array_get_length(wanted); i++) {
        const char *permission = json_array_get_string_element(wanted, i);
        if (!permission || !permission_exists(permission)) {
            call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                        "Permission %s is not valid for this resource.", permission ?: "");
            json_array_unref(held);
            return;
        }
        if (account_may(call->account, permission, resource))
            json_array_add_string_element(held, permission);
    }
    JsonObject *answer = json_object_new();
    if (json_array_get_length(held) > 0)
        json_object_set_array_member(answer, "permissions", held);
    else
        json_array_unref(held);
    call_answer(call, answer);
}

/* ---- routes ---- */

typedef struct Route {
    const char *pattern; /* "*" is one part of a path */
    Place place;
    void (*answer)(Call *call, const char *resource);
    const char *tail; /* of the pattern, no part of the resource's name */
} Route;

#define RING "/v1/projects/*/locations/*/keyRings/*"

static const Route routes[] = {
    {"/v1/projects/*/locations", PLACE_LOCATIONS, answer_locations, "/locations"},
    {"/v1/projects/*/locations/*/keyRings", PLACE_RINGS, answer_rings, "/keyRings"},
    {RING "/cryptoKeys", PLACE_KEYS, answer_keys, "/cryptoKeys"},
    {RING "/cryptoKeys/*/cryptoKeyVersions", PLACE_VERSIONS, answer_versions, "/cryptoKeyVersions"},
    {RING "/cryptoKeys/*/cryptoKeyVersions/*/publicKey", PLACE_PUBLIC_KEY, kms_public_key, "/publicKey"},
    {RING "/cryptoKeys/*/cryptoKeyVersions/*:asymmetricSign", PLACE_SIGN, kms_sign, ":asymmetricSign"},
    {RING ":testIamPermissions", PLACE_PERMISSIONS, answer_permissions, ":testIamPermissions"},
    {RING "/cryptoKeys/*:testIamPermissions", PLACE_PERMISSIONS, answer_permissions, ":testIamPermissions"},
};

static bool matches(const char *pattern, const char *path)
{
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (*pattern != *path++)
                return false;
            continue;
        }
        gsize size = strcspn(path, "/:");
        if (size == 0)
            return false;
        path += size;
    }
    return *path == '\0';
}

static void answer_route(Call *call, const Route *route, const char *path)
{
    if (!call_authenticate(call))
        return;
    bool sign = route->place == PLACE_SIGN;
    if (!faults_within_quota(call->cloud->faults, sign)) {
        call_refuse(call, TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED",
                    "Quota exceeded for quota metric '%s requests' and limit '%s requests per minute' of "
                    "service 'cloudkms.googleapis.com' for consumer 'project_number:415104041'.",
                    sign ? "HSM asymmetric cryptographic" : "Read",
                    sign ? "HSM asymmetric cryptographic" : "Read");
        return;
    }
    gsize size = strlen(path) - strlen("/v1/") - strlen(route->tail);
    g_autofree char *resource = g_strndup(path + strlen("/v1/"), size);
    route->answer(call, resource);
}

static void handle(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                   gpointer data)
{
    Call call;
    for (gsize i = 0; i < G_N_ELEMENTS(routes); i++)
        if (matches(routes[i].pattern, path)) {
            if (call_begin(&call, data, message, query, routes[i].place))
                answer_route(&call, &routes[i], path);
            return;
        }
    bool version3 = g_str_equal(path, "/v3/projects:search");
    if (!version3 && !g_str_equal(path, "/v1/projects")) {
        soup_server_message_set_status(message, SOUP_STATUS_NOT_FOUND, NULL);
        return;
    }
    if (call_begin(&call, data, message, query, PLACE_PROJECTS) && get_only(&call) &&
        call_authenticate(&call))
        answer_projects(&call, version3);
}

void kms_serve(Cloud *cloud, SoupServer *server)
{
    soup_server_add_handler(server, "/v1", handle, cloud, NULL);
    soup_server_add_handler(server, "/v3", handle, cloud, NULL);
}
