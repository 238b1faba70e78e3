/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a call waits for, as the token's Operation, OperationSince and State tell it. */

#include "cli/progress.h"
#include "cli/client.h"
#include "cli/message-json.h"
#include "cli/output.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What takes less than this is not worth a line that flickers. */
#define QUIET_USEC (400 * G_TIME_SPAN_MILLISECOND)
#define REDRAW_USEC (250 * G_TIME_SPAN_MILLISECOND)

struct Progress {
    bool quiet;
    bool terminal;
    bool drawn;
    bool asked_for_touch;
    bool touch;
    gint64 started;
    gint64 since; /* realtime µs: the token's operation was asked for then; 0: none is known */
    char *operation;
    sd_bus_slot *match;
    sd_bus_slot *first_look;
};

static void take_properties(Progress *progress, JsonObject *properties)
{
    const char *operation = json_object_get_string_member_with_default(properties, "Operation", NULL);
    /* Between its end and the answer, what it was is still what the person waits for. */
    if (operation && *operation) {
        g_free(progress->operation);
        progress->operation = output_printable(operation);
    }
    gint64 since = json_object_get_int_member_with_default(properties, "OperationSince", 0);
    if (since > 0)
        progress->since = since;
    const char *state = json_object_get_string_member_with_default(properties, "State", NULL);
    if (state)
        progress->touch = g_str_equal(state, "touch-needed");
}

static int on_properties(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    Progress *progress = userdata;
    g_autoptr(JsonNode) body = message_to_json(message, NULL);
    if (!body || !JSON_NODE_HOLDS_ARRAY(body) || json_array_get_length(json_node_get_array(body)) < 2)
        return 0;
    JsonNode *changed = json_array_get_element(json_node_get_array(body), 1);
    if (JSON_NODE_HOLDS_OBJECT(changed))
        take_properties(progress, json_node_get_object(changed));
    return 0;
}

/* The token may have been waiting for a finger before this call came. */
static int on_first_look(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    g_autoptr(JsonNode) body =
        sd_bus_message_is_method_error(message, NULL) ? NULL : message_to_json(message, NULL);
    JsonNode *properties =
        body && JSON_NODE_HOLDS_ARRAY(body) && json_array_get_length(json_node_get_array(body)) > 0
            ? json_array_get_element(json_node_get_array(body), 0)
            : NULL;
    if (properties && JSON_NODE_HOLDS_OBJECT(properties))
        take_properties(userdata, json_node_get_object(properties));
    return 0;
}

Progress *progress_new(sd_bus *bus, const char *token_path, bool quiet)
{
    Progress *progress = g_new0(Progress, 1);
    progress->quiet = quiet;
    progress->terminal = isatty(STDERR_FILENO) && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
    progress->started = g_get_monotonic_time();
    progress->operation = g_strdup("");
    /* Not being able to follow costs the line, not the call. */
    if (quiet)
        return progress;
    sd_bus_match_signal(bus, &progress->match, BUS_NAME, token_path, "org.freedesktop.DBus.Properties",
                        "PropertiesChanged", on_properties, progress);
    sd_bus_call_method_async(bus, &progress->first_look, BUS_NAME, token_path,
                             "org.freedesktop.DBus.Properties", "GetAll", on_first_look, progress, "s",
                             BUS_TOKEN);
    return progress;
}

void progress_free(Progress *progress)
{
    if (!progress)
        return;
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    sd_bus_slot_unref(progress->first_look);
    sd_bus_slot_unref(progress->match);
    g_free(progress->operation);
    g_free(progress);
}

static void draw_line(Progress *progress, gint64 elapsed)
{
    GString *line = g_string_new(NULL);
    if (progress->touch)
        g_string_append(line, "Touch the YubiKey now");
    else
        g_string_append(line, *progress->operation ? progress->operation : "waiting for the token");
    /* No token tells how far it is: how long it has been at it is what there is. */
    if (progress->since > 0)
        elapsed = MAX(g_get_real_time() - progress->since, 0);
    g_string_append_printf(line, " … %" G_GINT64_FORMAT " s", elapsed / G_USEC_PER_SEC);
    struct winsize size = {0};
    glong columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    if (g_utf8_strlen(line->str, -1) >= columns)
        g_string_truncate(line, (gsize)(g_utf8_offset_to_pointer(line->str, columns - 1) - line->str));
    fprintf(stderr, "\r\033[K%s", line->str);
    fflush(stderr);
    progress->drawn = true;
    g_string_free(line, TRUE);
}

uint64_t progress_draw(Progress *progress)
{
    if (progress->quiet)
        return UINT64_MAX;
    if (!progress->terminal) {
        if (progress->touch && !progress->asked_for_touch)
            fputs("Touch the YubiKey now\n", stderr);
        progress->asked_for_touch = progress->touch;
        return UINT64_MAX;
    }
    gint64 elapsed = g_get_monotonic_time() - progress->started;
    if (elapsed < QUIET_USEC && !progress->touch)
        return (uint64_t)(QUIET_USEC - elapsed);
    draw_line(progress, elapsed);
    return (uint64_t)REDRAW_USEC;
}
