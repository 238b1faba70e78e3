/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The walk through Google Cloud, a level a call: projects, locations, key rings, key versions. Accounts that
 * may use a key ring often may not list projects; where that is so the person types the project. */

#include "cli/inventory.h"
#include "cli/kms.h"
#include "cli/prompt.h"
#include <string.h>

static const char *const collections[] = {"projects", "locations", "keyRings"};

char *kms_place(const char *name)
{
    g_auto(GStrv) parts = g_strsplit(name, "/", -1);
    guint n = g_strv_length(parts);
    if (n == 0 || n > G_N_ELEMENTS(collections) || g_str_has_prefix(name, "projects/"))
        return g_strdup(name);
    g_autoptr(GString) place = g_string_new(NULL);
    for (guint i = 0; i < n; i++)
        g_string_append_printf(place, "%s%s/%s", i > 0 ? "/" : "", collections[i], parts[i]);
    return g_strdup(place->str);
}

const char *kms_place_id(const char *place)
{
    const char *slash = strrchr(place, '/');
    return slash ? slash + 1 : place;
}

sd_bus_message *kms_call(Client *client, const char *method, const char *place, int credentials,
                         GError **error)
{
    if (credentials < 0)
        return client_invoke(client, BUS_ROOT, BUS_MANAGER, method, error, "sa{sv}", place, 0);
    return client_invoke(client, BUS_ROOT, BUS_MANAGER, method, error, "sa{sv}", place, 1, "credentials", "h",
                         credentials);
}

JsonNode *kms_browse(Client *client, const char *place, int credentials, GError **error)
{
    g_autoptr(sd_bus_message) reply = kms_call(client, "BrowseGoogleKms", place, credentials, error);
    g_autoptr(JsonNode) answer = reply ? client_read_json(reply, error) : NULL;
    if (answer &&
        (!JSON_NODE_HOLDS_OBJECT(answer) || !property_array(json_node_get_object(answer), "children"))) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "The service's answer is not understood");
        return NULL;
    }
    return g_steal_pointer(&answer);
}

static GPtrArray *children(const JsonNode *answer)
{
    JsonArray *array = property_array(json_node_get_object((JsonNode *)answer), "children");
    GPtrArray *found = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        if (JSON_NODE_HOLDS_OBJECT(node))
            g_ptr_array_add(found, json_node_get_object(node));
    }
    return found;
}

static void add_version(Table *table, JsonObject *version)
{
    bool usable = json_object_get_boolean_member_with_default(version, "usable", FALSE);
    const char *const texts[] = {
        property_text(version, "name"),
        property_text(version, "algorithm"),
        property_text(version, "protection"),
        property_text(version, "state"),
        usable ? "yes" : property_text(version, "reason"),
    };
    table_row(table, texts, 4, usable ? EMPHASIS_GOOD : EMPHASIS_WARNING);
}

static void add_place(Table *table, JsonObject *place)
{
    const char *name = property_text(place, "name");
    const char *label = property_text(place, "label");
    table_row(table, (const char *const[]){name, g_str_equal(label, name) ? "" : label}, -1, EMPHASIS_NONE);
}

void kms_print_children(Output *output, const JsonNode *answer)
{
    static const char *const version_titles[] = {"SLOT", "ALGORITHM", "PROTECTION", "STATE", "USABLE>", NULL};
    static const char *const place_titles[] = {"NAME", "LABEL>", NULL};
    g_autoptr(GPtrArray) found = children(answer);
    const char *parent = property_text(json_node_get_object((JsonNode *)answer), "parent");
    bool versions = strstr(parent, "/keyRings/") != NULL;
    if (found->len == 0) {
        output_text(output, "There is nothing below %s that these credentials see\n",
                    *parent ? parent : "Google Cloud");
        return;
    }
    Table *table = table_new(versions ? version_titles : place_titles);
    for (guint i = 0; i < found->len; i++)
        (versions ? add_version : add_place)(table, g_ptr_array_index(found, i));
    output_table(output, table);
}

/* ---- choosing ---- */

static void given_up(GError **error)
{
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Given up; nothing was changed");
}

/* One of |found|; NULL with an error when the person gave up. Transfer full: its resource name. */
static char *choose_one(const char *question, GPtrArray *found, GError **error)
{
    g_autoptr(GPtrArray) titles = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < found->len; i++) {
        const char *id = kms_place_id(property_text(g_ptr_array_index(found, i), "name"));
        const char *label = kms_place_id(property_text(g_ptr_array_index(found, i), "label"));
        g_ptr_array_add(titles, *label && !g_str_equal(label, id) ? g_strdup_printf("%s (%s)", id, label)
                                                                  : g_strdup(id));
    }
    g_ptr_array_add(titles, NULL);
    int choice = prompt_choice(question, (const char *const *)titles->pdata, found->len == 1 ? 0 : -1);
    if (choice >= 0)
        return g_strdup(property_text(g_ptr_array_index(found, (guint)choice), "name"));
    given_up(error);
    return NULL;
}

static char *type_project(GError **error)
{
    g_autofree char *id = prompt_line("The id of the project", NULL);
    if (id && *id)
        return kms_place(id);
    given_up(error);
    return NULL;
}

static char *choose_project(Client *client, int credentials, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    g_autoptr(JsonNode) answer = kms_browse(client, "", credentials, &refusal);
    if (!answer && !g_error_matches(refusal, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED)) {
        g_propagate_error(error, g_steal_pointer(&refusal));
        return NULL;
    }
    g_autoptr(GPtrArray) found = answer ? children(answer) : g_ptr_array_new();
    if (found->len > 0)
        return choose_one("Which project?", found, error);
    prompt_say("%s (The role Browser shows projects.)",
               refusal ? refusal->message : "These credentials see no project.");
    return type_project(error);
}

/* NULL without an error: there is none. */
static char *choose_below(Client *client, const char *place, const char *question, int credentials,
                          GError **error)
{
    g_autoptr(JsonNode) answer = kms_browse(client, place, credentials, error);
    g_autoptr(GPtrArray) found = answer ? children(answer) : NULL;
    return found && found->len > 0 ? choose_one(question, found, error) : NULL;
}

char *kms_choose_key_ring(Client *client, int credentials, GError **error)
{
    g_autofree char *project = choose_project(client, credentials, error);
    GError *failure = NULL;
    while (project) {
        g_autofree char *location = choose_below(client, project, "Which location?", credentials, &failure);
        char *ring =
            location ? choose_below(client, location, "Which key ring?", credentials, &failure) : NULL;
        if (ring)
            return ring;
        if (!failure && !location)
            g_set_error(&failure, CLI_ERROR, CLI_ERROR_FAILED,
                        "Google names no location where project %s could have keys", kms_place_id(project));
        if (!location || failure) {
            g_propagate_error(error, failure);
            return NULL;
        }
        prompt_say("There is no key ring in %s; choose another location, or make one in Google Cloud first.",
                   kms_place_id(location));
    }
    return NULL;
}
