/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sd-event as a GSource. Three things are easily got wrong here, and test-loop provokes each: GLib may call
 * prepare again while the sd-event is armed already; a source made with g_source_add_unix_fd is dispatched
 * although check said no; and after sd_event_exit the GMainLoop must be told to end as well. */

#include "daemon/loop.h"
#include "daemon/error.h"
#include "daemon/log.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

typedef struct EventSource {
    GSource source;
    GPollFD poll;
    sd_event *event;
    GMainLoop *loop;
} EventSource;

/* Without its events the daemon is deaf: it ends, and systemd starts it again. */
static void event_failed(EventSource *self, const char *step, int r)
{
    log_error("The event loop can't %s: %s", step, g_strerror(-r));
    g_main_loop_quit(self->loop);
}

static gboolean event_prepare(GSource *source, int *timeout)
{
    EventSource *self = (EventSource *)source;
    *timeout = -1;
    if (sd_event_get_state(self->event) == SD_EVENT_ARMED)
        return FALSE;
    int r = sd_event_prepare(self->event);
    if (r < 0)
        event_failed(self, "prepare", r);
    return r > 0;
}

static gboolean event_check(GSource *source)
{
    return sd_event_wait(((EventSource *)source)->event, 0) > 0;
}

static gboolean event_dispatch(GSource *source, GSourceFunc callback, gpointer userdata)
{
    EventSource *self = (EventSource *)source;
    int r = sd_event_dispatch(self->event);
    if (r > 0)
        return G_SOURCE_CONTINUE;
    if (r < 0)
        event_failed(self, "dispatch", r);
    g_main_loop_quit(self->loop);
    return G_SOURCE_REMOVE;
}

static void event_finalize(GSource *source)
{
    EventSource *self = (EventSource *)source;
    sd_event_unref(self->event);
    g_main_loop_unref(self->loop);
}

static GSourceFuncs event_functions = {
    .prepare = event_prepare,
    .check = event_check,
    .dispatch = event_dispatch,
    .finalize = event_finalize,
};

GSource *loop_source_new(sd_event *event, GMainLoop *loop)
{
    GSource *source = g_source_new(&event_functions, sizeof(EventSource));
    EventSource *self = (EventSource *)source;
    self->event = sd_event_ref(event);
    self->loop = g_main_loop_ref(loop);
    self->poll = (GPollFD){.fd = sd_event_get_fd(event), .events = G_IO_IN | G_IO_HUP | G_IO_ERR};
    g_source_add_poll(source, &self->poll);
    return source;
}

struct Loop {
    sd_event *event;
    GMainLoop *main;
    GSource *source;
    void (*reload)(void *userdata);
    void *reload_userdata;
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    Loop *loop = userdata;
    if (info->ssi_signo != SIGHUP)
        return sd_event_exit(loop->event, 0);
    if (loop->reload)
        loop->reload(loop->reload_userdata);
    return 0;
}

static int watch_signals(Loop *loop)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (gsize i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    for (gsize i = 0; i < G_N_ELEMENTS(signals); i++) {
        int r = sd_event_add_signal(loop->event, NULL, signals[i], on_signal, loop);
        if (r < 0)
            return r;
    }
    return 0;
}

Loop *loop_new(GError **error)
{
    g_autoptr(Loop) loop = g_new0(Loop, 1);
    int r = sd_event_new(&loop->event);
    if (r >= 0)
        r = watch_signals(loop);
    if (r >= 0)
        r = sd_event_set_watchdog(loop->event, 1);
    if (r < 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The main loop can't be made: %s",
                    g_strerror(-r));
        return NULL;
    }
    loop->main = g_main_loop_new(NULL, FALSE);
    loop->source = loop_source_new(loop->event, loop->main);
    g_source_attach(loop->source, NULL);
    return g_steal_pointer(&loop);
}

void loop_free(Loop *loop)
{
    if (!loop)
        return;
    if (loop->source) {
        g_source_destroy(loop->source);
        g_source_unref(loop->source);
    }
    g_clear_pointer(&loop->main, g_main_loop_unref);
    sd_event_unref(loop->event);
    g_free(loop);
}

sd_event *loop_event(Loop *loop)
{
    return loop->event;
}

void loop_on_hangup(Loop *loop, void (*reload)(void *userdata), void *userdata)
{
    loop->reload = reload;
    loop->reload_userdata = userdata;
}

int loop_run(Loop *loop)
{
    int code = 0;
    if (sd_event_get_state(loop->event) != SD_EVENT_FINISHED)
        g_main_loop_run(loop->main);
    return sd_event_get_exit_code(loop->event, &code) < 0 ? 1 : code;
}

void loop_quit(Loop *loop, int exit_code)
{
    (void)sd_event_exit(loop->event, exit_code);
}
