/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Seal, post, judge the answer. */

#include "daemon/link/delivery.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/sealing.h"
#include "daemon/link/transport/https.h"
#include "daemon/log.h"

#define PATH "/api/public/delivercrl"
/* 30 s, and longer for a CRL of many megabytes on a slow line. */
#define TIMEOUT_SECONDS 30
#define SLOWEST_BYTES_A_SECOND (64 * 1024)
/* The text that the platform knows for an upload that did not get through. */
#define CONNECTION_FAILURE "connection failure"

typedef struct Delivery {
    LinkContext *context; /* not looked at after |cancellable| */
    char *url;
    GCancellable *cancellable;
    DeliveredFunc done;
    void *userdata;
} Delivery;

static void finish(Delivery *self, const GError *error)
{
    self->done(error, self->userdata);
    g_object_unref(self->cancellable);
    g_free(self->url);
    g_free(self);
}

static void fail(Delivery *self, const char *text)
{
    g_autoptr(GError) error = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN, text);
    finish(self, error);
}

static bool says_no(JsonObject *answer)
{
    JsonNode *node = answer ? json_object_get_member(answer, "success") : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
           !json_node_get_boolean(node);
}

static void on_answer(guint status, JsonObject *answer, const GError *error, void *userdata)
{
    Delivery *self = userdata;
    if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED)) {
        finish(self, error);
        return;
    }
    if (error) {
        log_warning("A CRL could not be delivered: %s", error->message);
        fail(self, CONNECTION_FAILURE);
        return;
    }
    if (SOUP_STATUS_IS_SUCCESSFUL(status) && !says_no(answer)) {
        finish(self, NULL);
        return;
    }
    const char *said = answer ? json_get_string(answer, "message", NULL) : NULL;
    g_autofree char *text = said && *said
                                ? https_one_line(said)
                                : g_strdup_printf("The CRL upload was answered with status %u", status);
    fail(self, text);
}

static void on_sealed(GBytes *wire, const GError *error, void *userdata)
{
    Delivery *self = userdata;
    if (error) {
        finish(self, error);
        return;
    }
    guint timeout = TIMEOUT_SECONDS + (guint)(g_bytes_get_size(wire) / SLOWEST_BYTES_A_SECOND);
    https_post(self->context->https, self->url, wire, timeout, self->cancellable, on_answer, self);
}

void delivery_start(LinkContext *context, Authority *authority, ChannelKey *key, const char *siguuid,
                    const char *crl, X509 *recipient, GCancellable *cancellable, DeliveredFunc done,
                    void *userdata)
{
    Delivery *self = g_new0(Delivery, 1);
    g_autofree char *serial = link_context_serial(context, authority);
    g_autofree char *escaped = g_uri_escape_string(serial, NULL, FALSE);
    self->context = context;
    self->url = g_strdup_printf("%s" PATH "/%s/%s", context->config->platform_url, escaped,
                                authority_thumbprint(authority));
    self->cancellable = g_object_ref(cancellable);
    self->done = done;
    self->userdata = userdata;
    /* `success` false: the only value that the platform has ever seen here (protocol.md 4). */
    seal(context->crypto, key, wire_answer_content(false, siguuid, crl), recipient, wire_delivery(),
         cancellable, on_sealed, self);
}
