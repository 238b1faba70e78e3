/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A call is paused while its job is on a thread, and answered when it is back. Bodies have a limit, which is
 * enforced while they arrive. */

#include "tests/platform/http.h"
#include "tests/platform/exchange.h"
#include "tests/platform/message.h"
#include "tests/platform/pubnub.h"
#include "tests/platform/work.h"
#include <string.h>

#define BOOTSTRAP_PATH "/api/public/getiotconnectiondata"
#define DELIVERY_PATH "/api/public/delivercrl"
#define LINK_PATH "/api/public/iothsm/link"

enum {
    BOOTSTRAP_LIMIT = 64 * 1024,
    DELIVERY_LIMIT = 512 * 1024 * 1024,
};

/* One HTTP call from its body to its answer. */
typedef struct Call {
    Platform *platform;
    SoupServerMessage *message;
    X509 *authority;
    X509_STORE *anchors;
    char *channel;
    char *smime;
    char *signed_text; /* what the signed part of a bootstrap request must be */
    char *inner;       /* what a bootstrap answer holds */
    Flaw flaw;
    char *answer_smime;
    Answer *delivered;
    GError *error;
} Call;

static Call *call_new(Platform *platform, SoupServerMessage *message, Authority *authority)
{
    Call *call = g_new0(Call, 1);
    call->platform = platform;
    call->message = g_object_ref(message);
    call->channel = g_strdup(authority->channel);
    X509_up_ref(authority->certificate);
    call->authority = authority->certificate;
    X509_STORE_up_ref(authority->anchors);
    call->anchors = authority->anchors;
    return call;
}

static void call_free(Call *call)
{
    g_object_unref(call->message);
    X509_free(call->authority);
    X509_STORE_free(call->anchors);
    g_free(call->channel);
    g_free(call->smime);
    g_free(call->signed_text);
    g_free(call->inner);
    g_free(call->answer_smime);
    answer_free(call->delivered);
    g_clear_error(&call->error);
    g_free(call);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, call_free)

/* ---- answers ---- */

static void answer_text(SoupServerMessage *message, guint status, const char *type, const char *text)
{
    soup_server_message_set_status(message, status, NULL);
    soup_server_message_set_response(message, type, SOUP_MEMORY_COPY, text, strlen(text));
}

static void answer_object(SoupServerMessage *message, JsonObject *object)
{
    g_autofree char *text = object_to_text(object, false);
    answer_text(message, SOUP_STATUS_OK, "application/json; charset=utf-8", text);
}

static void answer_refusal(SoupServerMessage *message, const char *why)
{
    g_autoptr(JsonObject) object = json_object_new();
    json_object_set_boolean_member(object, "success", FALSE);
    json_object_set_string_member(object, "message", why);
    answer_object(message, object);
}

static void answer_error_page(SoupServerMessage *message, guint status)
{
    answer_text(message, status, "text/html", "<html><body><h1>Something went wrong</h1></body></html>");
}

static gboolean wake(gpointer data)
{
    SoupServerMessage *message = data;
    soup_server_message_unpause(message);
    g_object_unref(message);
    return G_SOURCE_REMOVE;
}

/* The answer is complete; it goes out now or, if a fault wants that, later. */
static void release(Call *call, FaultKind slow, FaultPlace place)
{
    gint64 milliseconds = 0;
    faults_strike(call->platform->faults, slow, place, &milliseconds);
    g_timeout_add((guint)milliseconds, wake, g_object_ref(call->message));
}

/* ---- bootstrap ---- */

static void work_bootstrap(gpointer job)
{
    Call *call = job;
    g_autoptr(X509) signer = NULL;
    g_autoptr(GBytes) content =
        message_verified(call->smime, call->authority, call->anchors, &signer, &call->error);
    if (!content)
        return;
    gsize size;
    const char *text = g_bytes_get_data(content, &size);
    if (size != strlen(call->signed_text) || memcmp(text, call->signed_text, size) != 0) {
        g_set_error_literal(&call->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "The signed content is not exactly serial and thumbprint as in protocol.md 1.4");
        return;
    }
    g_autoptr(GBytes) inner = g_bytes_new(call->inner, strlen(call->inner));
    call->answer_smime =
        envelope_sign_encrypted(inner, signer, call->platform->pki, 0, call->flaw, &call->error);
}

static void bootstrap_done(gpointer job)
{
    g_autoptr(Call) call = job;
    Tally *tally = call->platform->tally;
    if (call->answer_smime) {
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_boolean_member(object, "success", TRUE);
        json_object_set_string_member(object, "data", call->answer_smime);
        answer_object(call->message, object);
        tally_count(tally, "bootstraps");
    } else {
        tally_complain(tally, "Bootstrap: %s", call->error->message);
        answer_refusal(call->message, call->error->message);
    }
    release(call, FAULT_BOOTSTRAP_SLOW, PLACE_BOOTSTRAP);
}

static JsonObject *websocket_member(Platform *platform, const char *channel)
{
    JsonObject *object = json_object_new();
    bool bad_token = faults_strike(platform->faults, FAULT_BOOTSTRAP_BAD_TOKEN, PLACE_BOOTSTRAP, NULL);
    g_autofree char *token =
        token_make(&platform->token_key, bad_token ? "another channel" : channel, platform->token_life);
    g_autofree char *url = g_strdup_printf("ws%s" LINK_PATH, platform->url + strlen("http"));
    json_object_set_string_member(object, "url", url);
    json_object_set_string_member(object, "token", token);
    json_object_set_int_member(object, "expires", platform->token_life);
    return object;
}

/* The inner JSON of protocol.md 1.7 and W.1. */
static char *connection_data(Platform *platform, const char *channel)
{
    guint index = registry_index(platform->registry, channel);
    g_autoptr(JsonObject) object = json_object_new();
    if (!g_str_equal(platform->transports, "websocket")) {
        g_autofree char *publish_key = pubnub_publish_key(platform, index);
        g_autofree char *subscribe_key = pubnub_subscribe_key(platform, index);
        json_object_set_string_member(object, "publishKey", publish_key);
        json_object_set_string_member(object, "subscribeKey", subscribe_key);
    }
    bool other = faults_strike(platform->faults, FAULT_BOOTSTRAP_OTHER_CHANNEL, PLACE_BOOTSTRAP, NULL);
    json_object_set_string_member(object, "channel_id",
                                  other ? "00000000-dead-4000-8000-000000000000" : channel);
    if (!g_str_equal(platform->transports, "pubnub"))
        json_object_set_object_member(object, "websocket", websocket_member(platform, channel));
    return object_to_text(object, false);
}

/* Answers wrongly if a fault wants that. */
static bool misbehaves(Platform *platform, SoupServerMessage *message, FaultKind refuse,
                       FaultKind status_kind, FaultKind not_json, FaultPlace place)
{
    gint64 status;
    g_autofree char *refusal = faults_strike_text(platform->faults, refuse, place);
    if (refusal)
        answer_refusal(message, refusal);
    else if (faults_strike(platform->faults, status_kind, place, &status))
        answer_error_page(message, (guint)status);
    else if (faults_strike(platform->faults, not_json, place, NULL))
        answer_text(message, SOUP_STATUS_OK, "application/json", "Welcome to the platform!");
    else
        return false;
    return true;
}

static bool bootstrap_misbehaves(Platform *platform, SoupServerMessage *message)
{
    if (misbehaves(platform, message, FAULT_BOOTSTRAP_REFUSE, FAULT_BOOTSTRAP_STATUS,
                   FAULT_BOOTSTRAP_NOT_JSON, PLACE_BOOTSTRAP))
        return true;
    if (faults_strike(platform->faults, FAULT_BOOTSTRAP_NULL, PLACE_BOOTSTRAP, NULL))
        answer_text(message, SOUP_STATUS_OK, "application/json", "null");
    else if (faults_strike(platform->faults, FAULT_BOOTSTRAP_REDIRECT, PLACE_BOOTSTRAP, NULL))
        soup_server_message_set_redirect(message, SOUP_STATUS_FOUND, "/elsewhere");
    else
        return false;
    return true;
}

/* The body as a JSON object of the right content type; otherwise answers 400. Transfer full. */
static JsonObject *request_object(Platform *platform, SoupServerMessage *message, const char *what)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    const char *type = soup_message_headers_get_content_type(headers, NULL);
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    g_autoptr(GBytes) bytes = soup_message_body_flatten(body);
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autoptr(GError) error = NULL;
    JsonObject *object = NULL;
    if (g_strcmp0(soup_server_message_get_method(message), SOUP_METHOD_POST) != 0)
        g_set_error(&error, G_IO_ERROR, G_IO_ERROR_FAILED, "the method is not POST");
    else if (g_strcmp0(type, "application/json") != 0)
        g_set_error(&error, G_IO_ERROR, G_IO_ERROR_FAILED, "the content type is not application/json");
    else
        object = object_from_text(text, (gssize)size, &error);
    if (!object) {
        tally_complain(platform->tally, "%s: %s", what, error->message);
        answer_text(message, SOUP_STATUS_BAD_REQUEST, "text/plain", error->message);
    }
    return object;
}

static void handle_bootstrap(SoupServer *server, SoupServerMessage *message, const char *path,
                             GHashTable *query, gpointer data)
{
    static const char *const names[] = {"serial", "thumbprint", "smime", NULL};
    Platform *platform = data;
    tally_count(platform->tally, "bootstrap requests");
    if (soup_server_message_get_status(message) != 0 || bootstrap_misbehaves(platform, message))
        return;
    g_autoptr(JsonObject) body = request_object(platform, message, "Bootstrap");
    if (!body)
        return;
    const char *serial = member_text(body, "serial");
    const char *thumbprint = member_text(body, "thumbprint");
    if (!serial || !thumbprint || !member_text(body, "smime") || !members_are(body, names)) {
        tally_complain(platform->tally, "Bootstrap: the body is not serial, thumbprint, smime");
        answer_refusal(message, "serial, thumbprint and smime are needed");
        return;
    }
    Authority *authority = registry_find_registered(platform->registry, serial, thumbprint);
    if (!authority) {
        tally_count(platform->tally, "bootstraps of unknown authorities");
        answer_refusal(message, "Certificate authority not found");
        return;
    }
    Call *call = call_new(platform, message, authority);
    call->smime = g_strdup(member_text(body, "smime"));
    call->signed_text = g_strdup_printf("{\"serial\":\"%s\",\"thumbprint\":\"%s\"}", serial, thumbprint);
    call->inner = connection_data(platform, authority->channel);
    call->flaw = faults_strike_flaw(platform->faults, PLACE_BOOTSTRAP);
    soup_server_message_pause(message);
    work_submit(work_bootstrap, bootstrap_done, call);
}

/* ---- CRL delivery ---- */

static void work_delivery(gpointer job)
{
    Call *call = job;
    call->delivered =
        message_read_answer(call->smime, call->authority, call->anchors, call->platform->pki, &call->error);
    if (!call->delivered)
        return;
    g_autoptr(X509_CRL) crl = crl_from_pem(call->delivered->message, -1, &call->error);
    if (crl && call->delivered->success)
        g_set_error_literal(&call->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "A delivered CRL must say success:false (protocol.md section 4)");
    else if (crl && X509_CRL_verify(crl, X509_get0_pubkey(call->authority)) != 1)
        openssl_failed(&call->error, "The delivered CRL doesn't verify under its authority");
}

static void delivery_done(gpointer job)
{
    g_autoptr(Call) call = job;
    Platform *platform = call->platform;
    Authority *authority = registry_find_channel(platform->registry, call->channel);
    if (call->error) {
        tally_complain(platform->tally, "CRL delivery: %s", call->error->message);
        answer_refusal(call->message, call->error->message);
    } else if (!exchanges_take_crl(platform->exchanges, authority, call->delivered->siguuid,
                                   call->delivered->message)) {
        tally_complain(platform->tally, "CRL delivery: nobody asked for the CRL of %s",
                       call->delivered->siguuid);
        answer_refusal(call->message, "No such request");
    } else {
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_boolean_member(object, "success", TRUE);
        json_object_set_string_member(object, "message", "ok");
        answer_object(call->message, object);
        tally_count(platform->tally, "CRLs delivered");
    }
    release(call, FAULT_UPLOAD_SLOW, PLACE_UPLOAD);
}

static void handle_delivery(SoupServer *server, SoupServerMessage *message, const char *path,
                            GHashTable *query, gpointer data)
{
    static const char *const names[] = {"smime", NULL};
    Platform *platform = data;
    tally_count(platform->tally, "CRL deliveries");
    if (soup_server_message_get_status(message) != 0 ||
        misbehaves(platform, message, FAULT_UPLOAD_REFUSE, FAULT_UPLOAD_STATUS, FAULT_UPLOAD_NOT_JSON,
                   PLACE_UPLOAD))
        return;
    g_auto(GStrv) parts = g_strsplit(path + strlen(DELIVERY_PATH), "/", -1); /* "", SERIAL, THUMBPRINT */
    Authority *authority =
        g_strv_length(parts) == 3 ? registry_find_registered(platform->registry, parts[1], parts[2]) : NULL;
    if (!authority) {
        tally_complain(platform->tally, "CRL delivery: %s names no authority", path);
        answer_error_page(message, SOUP_STATUS_NOT_FOUND);
        return;
    }
    g_autoptr(JsonObject) body = request_object(platform, message, "CRL delivery");
    if (!body)
        return;
    if (!member_text(body, "smime") || !members_are(body, names)) {
        tally_complain(platform->tally, "CRL delivery: the body is not smime alone");
        answer_refusal(message, "smime is needed");
        return;
    }
    Call *call = call_new(platform, message, authority);
    call->smime = g_strdup(member_text(body, "smime"));
    soup_server_message_pause(message);
    work_submit(work_delivery, delivery_done, call);
}

/* ---- limits ---- */

typedef struct BodyLimit {
    goffset left;
} BodyLimit;

static void count_chunk(SoupServerMessage *message, GBytes *chunk, gpointer data)
{
    BodyLimit *limit = data;
    limit->left -= (goffset)g_bytes_get_size(chunk);
    if (limit->left < 0) {
        soup_server_message_set_status(message, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, NULL);
        soup_message_body_truncate(soup_server_message_get_request_body(message));
    }
}

static void free_limit(gpointer data, GClosure *closure)
{
    g_free(data);
}

static void limit_body(SoupServerMessage *message, goffset limit)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    if (soup_message_headers_get_content_length(headers) > limit) {
        soup_server_message_set_status(message, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, NULL);
        return;
    }
    BodyLimit *left = g_new(BodyLimit, 1);
    left->left = limit;
    g_signal_connect_data(message, "got-chunk", G_CALLBACK(count_chunk), left, free_limit, 0);
}

static void limit_bootstrap(SoupServer *server, SoupServerMessage *message, const char *path,
                            GHashTable *query, gpointer data)
{
    limit_body(message, BOOTSTRAP_LIMIT);
}

static void limit_delivery(SoupServer *server, SoupServerMessage *message, const char *path,
                           GHashTable *query, gpointer data)
{
    limit_body(message, DELIVERY_LIMIT);
}

void http_serve(Platform *platform, SoupServer *server)
{
    soup_server_add_early_handler(server, BOOTSTRAP_PATH, limit_bootstrap, platform, NULL);
    soup_server_add_handler(server, BOOTSTRAP_PATH, handle_bootstrap, platform, NULL);
    soup_server_add_early_handler(server, DELIVERY_PATH, limit_delivery, platform, NULL);
    soup_server_add_handler(server, DELIVERY_PATH, handle_delivery, platform, NULL);
}
