/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Four steps (seal, wait for a turn, post, open), each of which either goes on or finishes with an outcome.
 * After a cancel the step under way still comes back once, finds nobody to tell, and frees; who waits for his
 * turn frees at once. */

#include "daemon/link/bootstrap.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/opening.h"
#include "daemon/link/sealing.h"
#include "daemon/link/transport/https.h"

#define PATH "/api/public/getiotconnectiondata"
#define TIMEOUT_SECONDS 30
/* What an opaque text of the platform's may be long at most. */
#define TEXT_MAX 4096
/* A token without `expires`, or with a nonsensical one, is taken for an hour or at most a year. */
#define EXPIRES_DEFAULT 3600
#define EXPIRES_MAX (366.0 * 24 * 3600)

struct Bootstrap {
    LinkContext *context;
    EVP_PKEY *key;
    char *host;
    GCancellable *cancellable;
    GBytes *wire;           /* sealed, until posted */
    Turn *turn;             /* at the platform, or waiting for that */
    BootstrapDoneFunc done; /* NULL: cancelled */
    void *userdata;
};

void bootstrap_keys_free(BootstrapKeys *keys)
{
    if (!keys)
        return;
    g_free(keys->channel);
    g_free(keys->url);
    g_free(keys->token);
    g_free(keys->publish_key);
    g_free(keys->subscribe_key);
    g_free(keys);
}

static void finish(Bootstrap *self, BootstrapOutcome outcome, BootstrapKeys *keys, const char *message)
{
    turnstile_leave(g_steal_pointer(&self->turn));
    if (self->done)
        self->done(outcome, keys, message, self->userdata);
    else
        bootstrap_keys_free(keys);
    EVP_PKEY_free(self->key);
    g_object_unref(self->cancellable);
    g_clear_pointer(&self->wire, g_bytes_unref);
    g_free(self->host);
    g_free(self);
}

static const char *opaque_text(JsonObject *object, const char *name, GError **error)
{
    const char *text = json_get_string(object, name, NULL);
    if (text && *text && strlen(text) <= TEXT_MAX)
        return text;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The platform's answer has no usable %s", name);
    return NULL;
}

static gint64 expiry(JsonObject *websocket, gint64 now)
{
    JsonNode *node = json_object_get_member(websocket, "expires");
    GType type = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : G_TYPE_INVALID;
    double seconds = type == G_TYPE_INT64 || type == G_TYPE_DOUBLE ? json_node_get_double(node) : 0;
    if (!(seconds > 0))
        seconds = EXPIRES_DEFAULT;
    return now + (gint64)(MIN(seconds, EXPIRES_MAX) * G_USEC_PER_SEC);
}

/* False: what the platform says of its WebSocket is of no use. */
static bool read_websocket(BootstrapKeys *keys, JsonObject *inner, gint64 now, GError **error)
{
    JsonNode *node = json_object_get_member(inner, "websocket");
    if (!node || !JSON_NODE_HOLDS_OBJECT(node))
        return true;
    JsonObject *websocket = json_node_get_object(node);
    const char *url = opaque_text(websocket, "url", error);
    const char *token = url ? opaque_text(websocket, "token", error) : NULL;
    if (!token)
        return false;
    keys->url = g_strdup(url);
    keys->token = g_strdup(token);
    keys->expires = expiry(websocket, now);
    return true;
}

static void read_pubnub(BootstrapKeys *keys, JsonObject *inner)
{
    const char *publish_key = opaque_text(inner, "publishKey", NULL);
    const char *subscribe_key = opaque_text(inner, "subscribeKey", NULL);
    if (publish_key && subscribe_key) {
        keys->publish_key = g_strdup(publish_key);
        keys->subscribe_key = g_strdup(subscribe_key);
    }
}

BootstrapKeys *bootstrap_keys_parse(JsonObject *inner, TransportChoice choice, gint64 now, GError **error)
{
    static const char *const neither[] = {
        [TRANSPORT_CHOICE_AUTO] = "The platform offers neither a WebSocket nor PubNub for this authority",
        [TRANSPORT_CHOICE_WEBSOCKET] = "The platform offers no WebSocket for this authority; "
                                       "Transport=websocket in iothsmd.conf takes no other",
        [TRANSPORT_CHOICE_PUBNUB] = "The platform names no PubNub keys for this authority; Transport=pubnub "
                                    "in iothsmd.conf takes no other way",
    };
    const char *channel = opaque_text(inner, "channel_id", error);
    if (!channel)
        return NULL;
    g_autoptr(BootstrapKeys) keys = g_new0(BootstrapKeys, 1);
    keys->channel = g_strdup(channel);
    if (choice != TRANSPORT_CHOICE_PUBNUB && !read_websocket(keys, inner, now, error))
        return NULL;
    if (choice != TRANSPORT_CHOICE_WEBSOCKET)
        read_pubnub(keys, inner);
    if (!keys->url && !keys->publish_key) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, neither[choice]);
        return NULL;
    }
    return g_steal_pointer(&keys);
}

static void on_opened(const Opened *opened, const GError *error, void *userdata)
{
    Bootstrap *self = userdata;
    g_autoptr(GError) failure = NULL;
    g_autofree char *sentence = NULL;
    g_autoptr(BootstrapKeys) keys = NULL;
    if (!error)
        keys = bootstrap_keys_parse(opened->content, self->context->config->transport, g_get_monotonic_time(),
                                    &failure);
    if (keys) {
        finish(self, BOOTSTRAP_KEYS, g_steal_pointer(&keys), "");
        return;
    }
    if (error && (!opened || !opened->signer))
        sentence =
            g_strdup_printf("The answer of %s is not signed by the platform that VerificationCa= names: %s",
                            self->host, error->message);
    else if (error)
        sentence = g_strdup_printf("The answer of %s could not be read: %s", self->host, error->message);
    else
        sentence = g_strdup(failure->message);
    finish(self, BOOTSTRAP_UNUSABLE, NULL, sentence);
}

static bool is_success(JsonObject *answer)
{
    JsonNode *node = json_object_get_member(answer, "success");
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
           json_node_get_boolean(node);
}

/* The platform's words, or ours for its status. Transfer full. */
static char *status_sentence(const Bootstrap *self, guint status, JsonObject *answer)
{
    const char *said = answer ? json_get_string(answer, "message", NULL) : NULL;
    if (said && *said)
        return https_one_line(said);
    return g_strdup_printf("%s answered with %u %s%s", self->host, status, https_status_phrase(status),
                           SOUP_STATUS_IS_REDIRECTION(status) ? "; redirects are not followed" : "");
}

static void on_answer(guint status, JsonObject *answer, const GError *error, void *userdata)
{
    Bootstrap *self = userdata;
    if (error) {
        finish(self, https_error_is_offline(error) ? BOOTSTRAP_OFFLINE : BOOTSTRAP_FAILED, NULL,
               error->message);
        return;
    }
    g_autofree char *sentence = status_sentence(self, status, answer);
    if (status == HTTPS_TOO_MANY_REQUESTS || SOUP_STATUS_IS_SERVER_ERROR(status)) {
        finish(self, BOOTSTRAP_FAILED, NULL, sentence);
        return;
    }
    /* Only an answer that speaks the protocol is a refusal; a proxy's 404 is none. */
    if (answer && json_object_has_member(answer, "success") && !is_success(answer)) {
        finish(self, BOOTSTRAP_REFUSED, NULL, sentence);
        return;
    }
    if (!SOUP_STATUS_IS_SUCCESSFUL(status) || !answer || !json_get_string(answer, "data", NULL)) {
        g_autofree char *strange =
            g_strdup_printf("%s did not answer as the platform does: %s", self->host, sentence);
        finish(self, BOOTSTRAP_UNUSABLE, NULL, strange);
        return;
    }
    opening_start(self->context->crypto, self->context->trust, OPENING_BOOTSTRAP, answer, "data", self->key,
                  0, G_MAXINT64, self->cancellable, on_opened, self);
}

static void on_turn(void *userdata)
{
    Bootstrap *self = userdata;
    g_autofree char *url = g_strconcat(self->context->config->platform_url, PATH, NULL);
    g_autoptr(GBytes) wire = g_steal_pointer(&self->wire);
    https_post(self->context->https, url, wire, TIMEOUT_SECONDS, self->cancellable, on_answer, self);
}

static void on_sealed(GBytes *wire, const GError *error, void *userdata)
{
    Bootstrap *self = userdata;
    if (error || !self->done) {
        finish(self, BOOTSTRAP_UNSIGNED, NULL, error ? error->message : "");
        return;
    }
    g_autofree char *url = g_strconcat(self->context->config->platform_url, PATH, NULL);
    g_autoptr(GError) refused = NULL;
    if (!https_url_is_allowed(url, "https", "http", &refused)) {
        finish(self, BOOTSTRAP_UNUSABLE, NULL, refused->message);
        return;
    }
    self->wire = g_bytes_ref(wire);
    self->turn = turnstile_enter(self->context->turnstile, on_turn, self);
}

Bootstrap *bootstrap_start(LinkContext *context, Authority *authority, ChannelKey *key,
                           BootstrapDoneFunc done, void *userdata)
{
    Bootstrap *self = g_new0(Bootstrap, 1);
    self->context = context;
    EVP_PKEY_up_ref(channel_key_private(key));
    self->key = channel_key_private(key);
    self->cancellable = g_cancellable_new();
    self->done = done;
    self->userdata = userdata;
    g_autoptr(GUri) uri = g_uri_parse(context->config->platform_url, SOUP_HTTP_URI_FLAGS, NULL);
    self->host = g_strdup(uri && g_uri_get_host(uri) ? g_uri_get_host(uri) : context->config->platform_url);

    g_autofree char *serial = link_context_serial(context, authority);
    const char *thumbprint = authority_thumbprint(authority);
    seal(context->crypto, key, wire_bootstrap_content(serial, thumbprint), NULL,
         wire_bootstrap(serial, thumbprint), self->cancellable, on_sealed, self);
    return self;
}

void bootstrap_cancel(Bootstrap *self)
{
    if (!self)
        return;
    self->done = NULL;
    g_cancellable_cancel(self->cancellable);
    turnstile_leave(g_steal_pointer(&self->turn)); /* what comes back later does not know the link any more */
    if (self->wire)
        finish(self, BOOTSTRAP_FAILED, NULL, ""); /* it waits for its turn */
}
