/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One match rule a watch, for the departure of that name alone, so that the daemon is not woken by everybody
 * else's. */

#include "polkit/sender.h"

struct SenderWatch {
    SenderGoneFunc gone;
    void *userdata;
    sd_bus_slot *rule;
};

static int on_departure(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
    SenderWatch *watch = userdata;
    watch->gone(watch->userdata);
    return 0;
}

/* sd-bus would close the whole connection when a rule is refused and nobody looks. */
static int on_rule_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    SenderWatch *watch = userdata;
    if (sd_bus_message_is_method_error(reply, NULL))
        watch->gone(watch->userdata);
    return 0;
}

SenderWatch *sender_watch_new(sd_bus *bus, const char *sender, SenderGoneFunc gone, void *userdata)
{
    if (sender == NULL || sender[0] != ':' || sd_bus_service_name_is_valid(sender) <= 0)
        return NULL;
    g_autofree char *rule = g_strdup_printf("type='signal',sender='org.freedesktop.DBus',"
                                            "path='/org/freedesktop/DBus',interface='org.freedesktop.DBus',"
                                            "member='NameOwnerChanged',arg0='%s',arg2=''",
                                            sender);
    SenderWatch *watch = g_new0(SenderWatch, 1);
    watch->gone = gone;
    watch->userdata = userdata;
    if (sd_bus_add_match_async(bus, &watch->rule, rule, on_departure, on_rule_answer, watch) < 0) {
        g_free(watch);
        return NULL;
    }
    return watch;
}

void sender_watch_free(SenderWatch *watch)
{
    if (watch == NULL)
        return;
    sd_bus_slot_unref(watch->rule);
    g_free(watch);
}
