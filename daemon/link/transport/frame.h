/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The frames of the WebSocket (protocol.md W.3): one JSON object each. Reading is a pure function of bytes
 * that runs on any thread; unknown operations and fields are no error (room to grow), a missing required
 * field is. */

#include "daemon/link/transport/transport.h"

typedef enum FrameOperation {
    FRAME_UNKNOWN, /* ignored */
    FRAME_WELCOME,
    FRAME_MESSAGE,
    FRAME_PUBLISHED,
    FRAME_ERROR,
} FrameOperation;

typedef enum FrameErrorCode {
    FRAME_ERROR_UNKNOWN,
    FRAME_ERROR_BAD_TOKEN,
    FRAME_ERROR_UNKNOWN_CHANNEL,
    FRAME_ERROR_TOO_LARGE,
    FRAME_ERROR_BAD_FRAME,
    FRAME_ERROR_RATE_LIMITED,
    FRAME_ERROR_SHUTTING_DOWN,
} FrameErrorCode;

/* One row of a welcome. */
typedef struct FrameChannel {
    char *id;
    bool ok;
    bool missed;
    char *reason; /* or NULL */
} FrameChannel;

/* What came; the fields that the operation does not have are zero. */
typedef struct Frame {
    FrameOperation operation;
    GPtrArray *channels;       /* welcome: FrameChannel */
    TransportMessage *message; /* message */
    guint64 seq;               /* published, error; 0 = none */
    char *channel;             /* error; or NULL */
    FrameErrorCode code;       /* error */
    char *reason;              /* error: code and reason as one line for people */
} Frame;

/* |received|: µs of g_get_monotonic_time() when the bytes came. IOTHSM_ERROR_INVALID in one line. Transfer
 * full. */
Frame *frame_parse(const char *text, gsize size, gint64 received, GError **error);
void frame_free(Frame *frame);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Frame, frame_free)

/* bad-token and unknown-channel: only a new bootstrap helps. Also for a welcome's `reason`. */
bool frame_reason_wants_bootstrap(const char *code);

/* A channel as hello and subscribe name it. |since| may be NULL. */
typedef struct FrameSubscription {
    const char *id;
    const char *token;
    const char *since;
} FrameSubscription;

/* The agent's own frames as text. Transfer full. */
char *frame_hello(const char *uuid, const char *agent, const FrameSubscription *channels, gsize n_channels);
char *frame_subscribe(const FrameSubscription *channels, gsize n_channels);
char *frame_unsubscribe(const char *channel);
/* |envelope|: JSON text, put in as it is. */
GBytes *frame_publish(const char *channel, guint64 seq, GBytes *envelope);
