/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A token that waits for a finger. The backend reports it from inside a call, on the worker; here it becomes
 * what people see. A key whose policy is "cached", touched a moment ago, asks and answers at once: only a
 * wait that lasts is shown, so that nothing flickers. */

#include "daemon/token/token-private.h"

/* Longer than any signature that needs no finger takes on a token that asks for one. */
#define SHOWN_AFTER_MS 500
/* By PIV's name; it can have a touch policy, too. */
#define MANAGEMENT_KEY "9b"

typedef struct Report {
    Driver *driver;
    char *slot;
    bool wanted;
} Report;

static void report_free(void *data)
{
    Report *report = data;
    driver_unref(report->driver);
    g_free(report->slot);
    g_free(report);
}

/* The first one that waits, or nobody. */
static void show(Token *token)
{
    token->touch_shown = token->touches->len > 0;
    g_clear_pointer(&token->touch_message, g_free);
    const char *slot = token->touches->len > 0 ? g_ptr_array_index(token->touches, 0) : "";
    if (g_str_equal(slot, MANAGEMENT_KEY))
        token->touch_message =
            g_strdup_printf("Touch token %s now: its management key waits for it", token->driver->serial);
    else if (token->touch_shown)
        token->touch_message = g_strdup_printf("Touch token %s now: the key in slot %s waits for it",
                                               token->driver->serial, slot);
    token_changed(token);
}

static gboolean on_waits_long(gpointer userdata)
{
    Token *token = userdata;
    token->touch_timer = 0;
    show(token);
    return G_SOURCE_REMOVE;
}

static void add_wait(Token *token, const char *slot)
{
    g_ptr_array_add(token->touches, g_strdup(slot));
    if (token->touches->len == 1)
        token->touch_timer = g_timeout_add(SHOWN_AFTER_MS, on_waits_long, token);
}

static void remove_wait(Token *token, const char *slot)
{
    guint at = 0;
    if (!g_ptr_array_find_with_equal_func(token->touches, slot, g_str_equal, &at))
        return;
    g_ptr_array_remove_index(token->touches, at);
    if (token->touches->len == 0)
        g_clear_handle_id(&token->touch_timer, g_source_remove);
    if (token->touch_shown)
        show(token);
}

static gboolean on_report(gpointer userdata)
{
    const Report *report = userdata;
    Token *token = report->driver->token;
    if (!token || token->gone)
        return G_SOURCE_REMOVE;
    if (report->wanted)
        add_wait(token, report->slot);
    else
        remove_wait(token, report->slot);
    return G_SOURCE_REMOVE;
}

/* On the thread of a call, which holds the driver. */
static void report_touch(Backend *backend, const char *slot, bool wanted, void *userdata)
{
    Report *report = g_new0(Report, 1);
    *report = (Report){driver_ref(userdata), g_strdup(slot), wanted};
    g_idle_add_full(G_PRIORITY_DEFAULT, on_report, report, report_free);
}

void touch_follow(Token *token)
{
    token->touches = g_ptr_array_new_with_free_func(g_free);
    token->driver->backend->reports = (BackendReports){.touch = report_touch, .userdata = token->driver};
}

void touch_forget(Token *token)
{
    g_clear_handle_id(&token->touch_timer, g_source_remove);
    g_ptr_array_set_size(token->touches, 0);
    token->touch_shown = false;
    g_clear_pointer(&token->touch_message, g_free);
}

const char *token_touch_slot(const Token *token)
{
    return token->touch_shown ? g_ptr_array_index(token->touches, 0) : "";
}
