/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table from channel id to channel. Telling all of them goes over a copy of the ids: a channel that hears
 * that its connection is lost may leave it. */

#include "daemon/link/connection.h"

#include "daemon/error.h"

struct Connection {
    char *url;
    Transport *transport;
    GHashTable *channels; /* id → Channel */
    TransportState state;
    char *message;
    gint64 next_attempt;
    void (*changed)(void *userdata);
    void *userdata;
};

static void tell_all(Connection *self, const char *reason, gint64 next_attempt)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    void *id;
    g_hash_table_iter_init(&iter, self->channels);
    while (g_hash_table_iter_next(&iter, &id, NULL))
        g_ptr_array_add(ids, g_strdup(id));
    for (guint i = 0; i < ids->len; i++) {
        Channel *channel = g_hash_table_lookup(self->channels, g_ptr_array_index(ids, i));
        if (channel)
            channel_on_disconnected(channel, reason, next_attempt);
    }
}

static void on_state(Transport *transport, TransportState state, const char *message, gint64 next_attempt,
                     void *userdata)
{
    Connection *self = userdata;
    g_free(self->message);
    self->state = state;
    self->message = g_strdup(message);
    self->next_attempt = next_attempt;
    if (state == TRANSPORT_BACKING_OFF || state == TRANSPORT_OFFLINE)
        tell_all(self, message, next_attempt);
    self->changed(self->userdata);
}

static void on_subscribed(Transport *transport, const char *id, bool missed, void *userdata)
{
    Connection *self = userdata;
    Channel *channel = g_hash_table_lookup(self->channels, id);
    if (channel)
        channel_on_subscribed(channel, missed);
}

static void on_refused(Transport *transport, const char *id, TransportRefusal refusal, const char *reason,
                       void *userdata)
{
    Connection *self = userdata;
    Channel *channel = g_hash_table_lookup(self->channels, id);
    if (channel)
        channel_on_refused(channel, refusal, reason);
}

static void on_lost(Transport *transport, const char *reason, void *userdata)
{
    tell_all(userdata, reason, 0);
}

static void on_message(Transport *transport, TransportMessage *message, void *userdata)
{
    Connection *self = userdata;
    Channel *channel = g_hash_table_lookup(self->channels, message->channel);
    if (channel)
        channel_on_message(channel, message);
}

Connection *connection_new(const char *url, const LinkContext *context, void (*changed)(void *userdata),
                           void *userdata, GError **error)
{
    g_autoptr(Connection) self = g_new0(Connection, 1);
    self->url = g_strdup(url);
    self->message = g_strdup("");
    self->channels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->changed = changed;
    self->userdata = userdata;
    const TransportEvents events = {
        .state = on_state,
        .subscribed = on_subscribed,
        .refused = on_refused,
        .lost = on_lost,
        .message = on_message,
        .userdata = self,
    };
    self->transport = websocket_transport_new(url, context->config->tls_ca, identity_uuid(context->identity),
                                              context->config->message_size, &events, error);
    return self->transport ? g_steal_pointer(&self) : NULL;
}

void connection_free(Connection *self)
{
    if (!self)
        return;
    if (self->transport)
        self->transport->class->free(self->transport);
    g_hash_table_unref(self->channels);
    g_free(self->message);
    g_free(self->url);
    g_free(self);
}

bool connection_add(Connection *self, const char *id, Channel *channel, GError **error)
{
    if (g_hash_table_contains(self->channels, id)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The platform gave one channel to two authorities; remove one of them there");
        return false;
    }
    g_hash_table_insert(self->channels, g_strdup(id), channel);
    return true;
}

static gboolean is_channel(void *id, void *channel, void *wanted)
{
    return channel == wanted;
}

bool connection_remove(Connection *self, Channel *channel)
{
    return g_hash_table_foreach_remove(self->channels, is_channel, channel) > 0;
}

bool connection_is_empty(const Connection *self)
{
    return g_hash_table_size(self->channels) == 0;
}

void connection_hurry(Connection *self)
{
    self->transport->class->hurry(self->transport);
}

const char *connection_url(const Connection *self)
{
    return self->url;
}

Transport *connection_transport(const Connection *self)
{
    return self->transport;
}

TransportState connection_state(const Connection *self)
{
    return self->state;
}

const char *connection_message(const Connection *self)
{
    return self->message;
}

gint64 connection_next_attempt(const Connection *self)
{
    return self->next_attempt;
}
