/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into the daemon: its timers never expire, and PC/SC is never asked to come back by itself. What
 * works like this is driven by events. */

#include <dlfcn.h>
#include <glib.h>
#include <systemd/sd-event.h>
#include <winscard.h>

#define NEVER G_MAXUINT

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

guint g_timeout_add(guint interval, GSourceFunc function, gpointer data)
{
    return REAL(g_timeout_add)(NEVER, function, data);
}

guint g_timeout_add_full(gint priority, guint interval, GSourceFunc function, gpointer data,
                         GDestroyNotify notify)
{
    return REAL(g_timeout_add_full)(priority, NEVER, function, data, notify);
}

/* Its own range ends earlier, and so it goes by the other one. */
guint g_timeout_add_seconds(guint interval, GSourceFunc function, gpointer data)
{
    return REAL(g_timeout_add)(NEVER, function, data);
}

guint g_timeout_add_seconds_full(gint priority, guint interval, GSourceFunc function, gpointer data,
                                 GDestroyNotify notify)
{
    return REAL(g_timeout_add_full)(priority, NEVER, function, data, notify);
}

int sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
                      uint64_t accuracy, sd_event_time_handler_t callback, void *userdata)
{
    return REAL(sd_event_add_time)(event, ret, clock, UINT64_MAX, accuracy, callback, userdata);
}

int sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
                               uint64_t accuracy, sd_event_time_handler_t callback, void *userdata)
{
    return REAL(sd_event_add_time)(event, ret, clock, UINT64_MAX, accuracy, callback, userdata);
}

LONG SCardGetStatusChange(SCARDCONTEXT context, DWORD timeout, SCARD_READERSTATE *states, DWORD n)
{
    return REAL(SCardGetStatusChange)(context, timeout == 0 ? 0 : INFINITE, states, n);
}
