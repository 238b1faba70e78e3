/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A thin layer over https_send: after a cancel the request still comes back once, finds nobody to tell, and
 * frees. */

#include "daemon/link/transport/pubnub-call.h"

#include "daemon/link/transport/https.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

/* A hundred messages of 32 KiB, with every character escaped. */
#define ANSWER_MAX (16U * 1024U * 1024U)
/* First keepalive after 20 s of silence, then every 10 s, and after three without an answer the peer is gone.
 */
#define KEEPALIVE_IDLE 20
#define KEEPALIVE_INTERVAL 10
#define KEEPALIVE_COUNT 3

struct PubnubCall {
    GCancellable *cancellable;
    PubnubAnsweredFunc answered; /* NULL: cancelled */
    void *userdata;
};

static void on_answered(guint status, GBytes *body, const GError *error, void *userdata)
{
    PubnubCall *call = userdata;
    gsize size = 0;
    const char *text = body ? g_bytes_get_data(body, &size) : NULL;
    if (call->answered)
        call->answered(status, text ? text : "", size, error, call->userdata);
    g_object_unref(call->cancellable);
    g_free(call);
}

static void on_network_event(SoupMessage *message, GSocketClientEvent event, GIOStream *connection,
                             void *userdata)
{
    if (event != G_SOCKET_CLIENT_CONNECTED || !G_IS_SOCKET_CONNECTION(connection))
        return;
    GSocket *socket = g_socket_connection_get_socket(G_SOCKET_CONNECTION(connection));
    /* A socket without them only notices later. */
    g_socket_set_keepalive(socket, TRUE);
    g_socket_set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE, NULL);
    g_socket_set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL, NULL);
    g_socket_set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT, NULL);
}

PubnubCall *pubnub_call_start(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                              PubnubAnsweredFunc answered, void *userdata)
{
    g_autoptr(SoupMessage) message = soup_message_new(body ? "POST" : "GET", url);
    g_assert(message); /* the origin was checked by https_url_is_allowed, the rest is escaped */
    PubnubCall *call = g_new0(PubnubCall, 1);
    *call = (PubnubCall){g_cancellable_new(), answered, userdata};
    if (body)
        soup_message_set_request_body_from_bytes(message, "application/json", body);
    g_signal_connect(message, "network-event", G_CALLBACK(on_network_event), NULL);
    https_send(session, message, ANSWER_MAX, timeout_seconds, call->cancellable, on_answered, call);
    return call;
}

void pubnub_call_cancel(PubnubCall *call)
{
    if (!call)
        return;
    call->answered = NULL;
    g_cancellable_cancel(call->cancellable);
}

void pubnub_call_forget(SoupSession *session, const char *url, guint timeout_seconds)
{
    pubnub_call_start(session, url, NULL, timeout_seconds, NULL, NULL);
}
