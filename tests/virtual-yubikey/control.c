/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See control.h. */

#include "tests/virtual-yubikey/control.h"
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>

#define LONGEST_TOUCH_SECONDS 3600
#define LONGEST_DELAY_MILLISECONDS 600000

struct Control {
    char *path;
    GSocketService *service;
    Hand *hand;
    Faults *faults;
    Memory *memory;
    void (*quit)(void *userdata);
    void *userdata;
    GList *clients;
    guint idle; /* looks at the waiting clients */
};

typedef enum Awaited {
    AWAIT_NOTHING,
    AWAIT_POWERED,
    AWAIT_TOUCH,
    AWAIT_GONE,
} Awaited;

typedef struct Client {
    Control *control;
    GSocketConnection *connection;
    GDataInputStream *lines;
    GCancellable *cancellable;
    Awaited awaited;
} Client;

static void read_next(Client *client);

static void client_free(Client *client)
{
    client->control->clients = g_list_remove(client->control->clients, client);
    g_object_unref(client->lines);
    g_object_unref(client->connection);
    g_object_unref(client->cancellable);
    g_free(client);
}

/* A line is short enough for any socket buffer: this does not wait. */
static void reply(Client *client, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(client->connection));
    if (!g_output_stream_write_all(out, line, strlen(line), NULL, NULL, &error))
        g_debug("a client of the control socket went away: %s", error->message);
}

static bool parse(const char *word, guint base, guint64 largest, guint64 *ret_number)
{
    return word && g_ascii_string_to_unsigned(word, base, 0, largest, ret_number, NULL);
}

static bool parse_instruction(const char *word, int *ret_instruction)
{
    guint64 instruction;
    if (!word) {
        *ret_instruction = ANY_INSTRUCTION;
        return true;
    }
    if (!parse(word, 16, 0xff, &instruction))
        return false;
    *ret_instruction = (int)instruction;
    return true;
}

/* Each answers with a text to free, NULL for "ok". Words that are missing are NULL. */

static const char not_understood[] = "error: not understood";

static char *do_plug(Client *client, char **words)
{
    hand_plug(client->control->hand);
    return NULL;
}

static char *do_unplug(Client *client, char **words)
{
    hand_unplug(client->control->hand);
    return NULL;
}

static char *set_touch_seconds(Hand *hand, const char *word)
{
    guint64 seconds;
    if (!parse(word, 10, LONGEST_TOUCH_SECONDS, &seconds))
        return g_strdup(not_understood);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand->touch_seconds = (guint)seconds;
    return NULL;
}

static char *do_touch(Client *client, char **words)
{
    Hand *hand = client->control->hand;
    const char *how = words[1];
    if (!how)
        return hand_touch(hand) ? NULL : g_strdup("error: no light blinks");
    if (g_str_equal(how, "refuse"))
        return hand_refuse(hand) ? NULL : g_strdup("error: no light blinks");
    if (g_str_equal(how, "auto"))
        hand_set_finger(hand, FINGER_RESTING);
    else if (g_str_equal(how, "hand"))
        hand_set_finger(hand, FINGER_AWAY);
    else if (g_str_equal(how, "forget"))
        hand_forget_touch(hand);
    else if (g_str_equal(how, "seconds"))
        return set_touch_seconds(hand, words[2]);
    else
        return g_strdup(not_understood);
    return NULL;
}

static char *do_fail(Client *client, char **words)
{
    Control *control = client->control;
    guint64 times, status;
    int instruction;
    if (!parse(words[1], 10, G_MAXUINT, &times) || !parse(words[2], 16, 0xffff, &status) || status == 0 ||
        !parse_instruction(words[3], &instruction))
        return g_strdup(not_understood);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    control->faults->fail_left = (guint)times;
    control->faults->fail_status = (guint16)status;
    control->faults->fail_instruction = instruction;
    return NULL;
}

static char *do_cut(Client *client, char **words)
{
    Control *control = client->control;
    guint64 at;
    bool after = words[1] && g_strcmp0(words[2], "after") == 0;
    if (!parse(words[1], 10, G_MAXUINT, &at) || at == 0 ||
        (words[2] && !after && !g_str_equal(words[2], "before")))
        return g_strdup(not_understood);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    control->faults->cut_in = (guint)at;
    control->faults->cut_after = after;
    return NULL;
}

static char *do_reset(Client *client, char **words)
{
    Control *control = client->control;
    guint64 at;
    if (!parse(words[1], 10, G_MAXUINT, &at) || at == 0)
        return g_strdup(not_understood);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    control->faults->reset_in = (guint)at;
    return NULL;
}

static char *do_delay(Client *client, char **words)
{
    Control *control = client->control;
    guint64 milliseconds;
    int instruction;
    if (!parse(words[1], 10, LONGEST_DELAY_MILLISECONDS, &milliseconds) ||
        !parse_instruction(words[2], &instruction))
        return g_strdup(not_understood);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    control->faults->delay_milliseconds = (guint)milliseconds;
    control->faults->delay_instruction = instruction;
    return NULL;
}

static char *do_clear(Client *client, char **words)
{
    Control *control = client->control;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    Faults *faults = control->faults;
    faults->fail_left = faults->cut_in = faults->reset_in = faults->delay_milliseconds = 0;
    return NULL;
}

static char *do_count(Client *client, char **words)
{
    Control *control = client->control;
    Faults *faults = control->faults;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
    GString *text = g_string_new(NULL);
    g_string_printf(text, "ok total=%" G_GUINT64_FORMAT, faults->seen_total);
    for (guint i = 0; i < G_N_ELEMENTS(faults->seen); i++)
        if (faults->seen[i])
            g_string_append_printf(text, " %02x=%" G_GUINT64_FORMAT, i, faults->seen[i]);
    g_string_append_printf(text, " compared=%" G_GUINT64_FORMAT, control->memory->compared);
    if (g_strcmp0(words[1], "reset") == 0) {
        control->memory->compared = 0;
        memset(faults->seen, 0, sizeof faults->seen);
        faults->seen_total = 0;
    }
    return g_string_free(text, FALSE);
}

static char *do_tries(Client *client, char **words)
{
    const Memory *memory = client->control->memory;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->control->hand->lock);
    return g_strdup_printf("ok pin=%u/%u puk=%u/%u", memory->pin.left, memory->pin.tries, memory->puk.left,
                           memory->puk.tries);
}

static char *do_block(Client *client, char **words)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->control->hand->lock);
    client->control->memory->last_blocked = true;
    return NULL;
}

static char *do_state(Client *client, char **words)
{
    const Hand *hand = client->control->hand;
    const Memory *memory = client->control->memory;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->control->hand->lock);
    return g_strdup_printf("ok plugged=%d connected=%d powered=%d blinking=%d serial=%u firmware=%u.%u.%u",
                           hand->plugged, hand->connection >= 0, hand->powered, hand->blinking,
                           memory->serial, FIRMWARE_MAJOR(memory->firmware), FIRMWARE_MINOR(memory->firmware),
                           FIRMWARE_PATCH(memory->firmware));
}

static char *do_quit(Client *client, char **words)
{
    client->control->quit(client->control->userdata);
    return NULL;
}

static const struct {
    const char *name;
    char *(*handler)(Client *client, char **words);
} requests[] = {
    {"plug", do_plug},   {"unplug", do_unplug}, {"touch", do_touch}, {"fail", do_fail},   {"cut", do_cut},
    {"reset", do_reset}, {"delay", do_delay},   {"clear", do_clear}, {"count", do_count}, {"tries", do_tries},
    {"block", do_block}, {"state", do_state},   {"quit", do_quit},
};

static bool has_come(Hand *hand, Awaited awaited)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    switch (awaited) {
    case AWAIT_POWERED:
        return hand->powered;
    case AWAIT_TOUCH:
        return hand->blinking;
    case AWAIT_GONE:
        return hand->connection < 0;
    default:
        return true;
    }
}

/* False: the answer comes later. */
static bool answered_wait(Client *client, const char *what)
{
    static const char *const names[] = {
        [AWAIT_POWERED] = "powered", [AWAIT_TOUCH] = "touch", [AWAIT_GONE] = "gone"};
    for (guint i = AWAIT_POWERED; i < G_N_ELEMENTS(names); i++) {
        if (g_strcmp0(what, names[i]) != 0)
            continue;
        client->awaited = i;
        if (!has_come(client->control->hand, client->awaited))
            return false;
        client->awaited = AWAIT_NOTHING;
        reply(client, "ok");
        return true;
    }
    reply(client, not_understood);
    return true;
}

/* False: the answer comes later. */
static bool handle(Client *client, const char *line)
{
    char *words[5] = {NULL};
    g_auto(GStrv) split = g_strsplit_set(line, " \t", -1);
    guint n = 0;
    for (char **word = split; *word; word++)
        if (**word && n < G_N_ELEMENTS(words) - 1)
            words[n++] = *word;
    if (g_strcmp0(words[0], "wait") == 0)
        return answered_wait(client, words[1]);
    g_autofree char *text = NULL;
    bool known = false;
    for (gsize i = 0; i < G_N_ELEMENTS(requests); i++)
        if (g_strcmp0(words[0], requests[i].name) == 0) {
            text = requests[i].handler(client, words);
            known = true;
        }
    reply(client, !known ? not_understood : text ? text : "ok");
    return true;
}

static void on_line(GObject *source, GAsyncResult *result, gpointer userdata)
{
    Client *client = userdata;
    g_autofree char *line = g_data_input_stream_read_line_finish(client->lines, result, NULL, NULL);
    if (!line)
        client_free(client);
    else if (handle(client, line))
        read_next(client);
}

static void read_next(Client *client)
{
    g_data_input_stream_read_line_async(client->lines, G_PRIORITY_DEFAULT, client->cancellable, on_line,
                                        client);
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer userdata)
{
    Client *client = g_new0(Client, 1);
    client->control = userdata;
    client->connection = g_object_ref(connection);
    client->lines = g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(connection)));
    client->cancellable = g_cancellable_new();
    client->control->clients = g_list_prepend(client->control->clients, client);
    read_next(client);
    return TRUE;
}

static gboolean look_at_waiting(gpointer userdata)
{
    Control *control = userdata;
    {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&control->hand->lock);
        control->idle = 0;
    }
    for (GList *at = control->clients; at; at = at->next) {
        Client *client = at->data;
        if (client->awaited == AWAIT_NOTHING || !has_come(control->hand, client->awaited))
            continue;
        client->awaited = AWAIT_NOTHING;
        reply(client, "ok");
        read_next(client);
    }
    return G_SOURCE_REMOVE;
}

/* From any thread, with the hand's lock held. */
static void on_changed(void *userdata)
{
    Control *control = userdata;
    if (control->idle == 0)
        control->idle = g_idle_add_full(G_PRIORITY_DEFAULT, look_at_waiting, control, NULL);
}

Control *control_new(const char *path, Hand *hand, Faults *faults, Memory *memory,
                     void (*quit)(void *userdata), void *userdata, GError **error)
{
    g_autoptr(Control) control = g_new0(Control, 1);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    control->service = g_socket_service_new();
    control->hand = hand;
    control->faults = faults;
    control->memory = memory;
    control->quit = quit;
    control->userdata = userdata;
    (void)g_unlink(path);
    if (!g_socket_listener_add_address(G_SOCKET_LISTENER(control->service), address, G_SOCKET_TYPE_STREAM,
                                       G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, error))
        return NULL;
    control->path = g_strdup(path);
    g_signal_connect(control->service, "incoming", G_CALLBACK(on_incoming), control);
    hand->notify = on_changed;
    hand->userdata = control;
    return g_steal_pointer(&control);
}

/* The threads that could call |on_changed| have ended. */
void control_free(Control *control)
{
    if (!control)
        return;
    g_socket_service_stop(control->service);
    g_socket_listener_close(G_SOCKET_LISTENER(control->service));
    if (control->idle)
        g_source_remove(control->idle);
    for (GList *at = control->clients; at;) {
        Client *client = at->data;
        at = at->next;
        if (client->awaited == AWAIT_NOTHING)
            g_cancellable_cancel(client->cancellable);
        else
            client_free(client); /* nothing is being read from it */
    }
    while (control->clients)
        g_main_context_iteration(NULL, TRUE);
    if (control->path)
        (void)g_unlink(control->path);
    g_object_unref(control->service);
    g_free(control->path);
    g_free(control);
}
