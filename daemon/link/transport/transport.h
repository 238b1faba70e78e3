/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A transport moves envelopes between the platform and us, and nothing else: it never sees a key, a PIN or a
 * decrypted message, so that it can one day be a process of its own. It owns its connection, reconnects by
 * itself (protocol.md W.4), keeps what was published until the platform holds it, and subscribes the channels
 * that it was given, again after each reconnect.
 *
 * WebSocket (protocol.md part II) is one, PubNub (appendix A) another; a third would be one more file.
 * Everything runs on the main thread; JSON of large messages is parsed on a thread of the transport's own,
 * order kept. */

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

typedef struct Transport Transport;

typedef enum TransportState {
    TRANSPORT_IDLE, /* no channel wanted */
    TRANSPORT_CONNECTING,
    TRANSPORT_CONNECTED, /* handshake and hello are answered */
    TRANSPORT_BACKING_OFF,
    TRANSPORT_OFFLINE, /* as BACKING_OFF; the last attempt found no route to the platform */
} TransportState;

typedef enum TransportRefusal {
    TRANSPORT_REFUSED_TOKEN, /* bad-token, unknown-channel, expired: bootstrap that channel again */
    TRANSPORT_REFUSED_OTHER, /* the platform's reason, in |reason| */
} TransportRefusal;

typedef enum TransportOutcome {
    TRANSPORT_PUBLISHED, /* the platform holds the frame */
    TRANSPORT_TOO_LARGE, /* it never will: answer something shorter */
    TRANSPORT_DROPPED,   /* its time ran out, or the platform refused it */
    TRANSPORT_LEFT,      /* its channel left this transport first; another one may carry it */
} TransportOutcome;

typedef struct TransportMessage {
    char *channel;
    char *id;        /* opaque, unique on its channel */
    bool resumable;  /* |id| is what subscribe may be given as |since| after a restart */
    char *publisher; /* what an answer's envelope carries as `uuid` */
    gint64 age_ms;   /* since publication, as the platform says */
    gint64 received; /* µs of g_get_monotonic_time() */
    JsonObject *envelope;
} TransportMessage;
TransportMessage *transport_message_ref(TransportMessage *message); /* atomic */
void transport_message_unref(TransportMessage *message);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportMessage, transport_message_unref)

typedef struct TransportEvents {
    /* |message| says in words what is wrong while backing off; |next_attempt| in µs since the epoch or 0. */
    void (*state)(Transport *transport, TransportState state, const char *message, gint64 next_attempt,
                  void *userdata);
    /* welcome with ok for |channel|; |missed|: messages since `since` are gone. Also after each reconnect. */
    void (*subscribed)(Transport *transport, const char *channel, bool missed, void *userdata);
    void (*refused)(Transport *transport, const char *channel, TransportRefusal refusal, const char *reason,
                    void *userdata);
    /* The connection is lost: no channel is subscribed until it says so again. At most 50 s into silence. */
    void (*lost)(Transport *transport, const char *reason, void *userdata);
    void (*message)(Transport *transport, TransportMessage *message, void *userdata);
    void *userdata;
} TransportEvents;

typedef void (*TransportPublishedFunc)(TransportOutcome outcome, const char *reason, void *userdata);

typedef struct TransportClass {
    const char *name; /* "websocket" */
    /* Closes politely; no event comes any more. What was not published yet is told LEFT. */
    void (*free)(Transport *transport);
    /* |token| and |since| may be NULL where the transport has no use for them. A channel given again replaces
     * its token (after a new bootstrap). */
    void (*subscribe)(Transport *transport, const char *channel, const char *token, const char *since);
    void (*unsubscribe)(Transport *transport, const char *channel);
    /* |envelope|: compact JSON of an object; kept until published, sent again after a reconnect unless
     * |expires| (µs of g_get_monotonic_time(), G_MAXINT64 = never) has passed. |done| may be NULL; it runs
     * exactly once and never from inside this call. */
    void (*publish)(Transport *transport, const char *channel, GBytes *envelope, gint64 expires,
                    TransportPublishedFunc done, void *userdata);
    /* Network came back, Reload: an attempt now instead of at the end of the backoff. */
    void (*hurry)(Transport *transport);
    /* For a subscription that must know where it stands after a reconnect: the newest id that is in hand. */
    void (*set_since)(Transport *transport, const char *channel, const char *message_id);
} TransportClass;

struct Transport {
    const TransportClass *class;
};

/* websocket.c. |url|: wss, or ws to a loopback host (INVALID otherwise). |roots| of TLS: NULL = the
 * system's roots. |uuid|: the agent's; |message_size|: bytes, both directions. */
Transport *websocket_transport_new(const char *url, GTlsDatabase *roots, const char *uuid,
                                   guint64 message_size, const TransportEvents *events, GError **error);

typedef struct PubnubKeys {
    const char *publish;
    const char *subscribe;
} PubnubKeys;

/* pubnub.c: one key set. |origin|: https, or http to a loopback host. */
Transport *pubnub_transport_new(const char *origin, const PubnubKeys *keys, GTlsDatabase *roots,
                                const char *uuid, const TransportEvents *events, GError **error);
