/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The other end of everything in daemon/link. It uses the daemon's own envelope functions; that those agree
 * with the openssl command is what test-envelope is for. */

#include "tests/unit/link/scripted-platform.h"

#include "daemon/ca/name.h"
#include "daemon/json.h"

static const Signer *platform_signer(const char *name)
{
    return signer(name ? name : "platform");
}

static JsonObject *parse(const char *text, gsize size)
{
    g_autoptr(GError) error = NULL;
    JsonObject *object = json_object_parse(text, size, &error);
    g_assert_no_error(error);
    return object;
}

static JsonObject *parse_bytes(GBytes *bytes)
{
    return parse(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
}

/* The content that the agent signed; who signed is kept. Transfer full. */
static EnvelopeSigned *verify_agent(ScriptedPlatform *self, const char *smime)
{
    g_autoptr(EnvelopeTrust) trust = envelope_trust_new(self->authorities, SIGNER_PURPOSE_SMIMESIGN);
    g_autoptr(GError) error = NULL;
    EnvelopeSigned *message = envelope_verify(smime, strlen(smime), trust, &error);
    g_assert_no_error(error);
    return message;
}

char *scripted_platform_channel(const char *thumbprint)
{
    return g_strdup_printf("channel-%.8s", thumbprint);
}

static char *right_answer(ScriptedPlatform *self, JsonObject *request)
{
    const char *thumbprint = json_object_get_string_member(request, "thumbprint");
    g_autoptr(EnvelopeSigned) message = verify_agent(self, json_object_get_string_member(request, "smime"));
    g_autoptr(JsonObject) content = parse_bytes(message->content);
    g_assert_cmpstr(json_object_get_string_member(content, "thumbprint"), ==, thumbprint);
    g_assert_cmpstr(json_object_get_string_member(content, "serial"), ==,
                    json_object_get_string_member(request, "serial"));
    if (g_strcmp0(self->refused, thumbprint) == 0)
        return g_strdup("{\"success\":false,\"message\":\"Certificate authority\\nnot found\"}");

    X509_up_ref(message->signer);
    X509_free(self->agent);
    self->agent = message->signer;
    g_autofree char *channel = scripted_platform_channel(thumbprint);
    g_autofree char *inner = g_strdup_printf(
        "{\"channel_id\":\"%s\",%s\"websocket\":{\"url\":\"%s\",\"token\":\"token-%u\","
        "\"expires\":%" G_GINT64_FORMAT "}}",
        channel, self->pubnub ? "\"publishKey\":\"pub-c-1\",\"subscribeKey\":\"sub-c-2\"," : "",
        self->websocket_url ? self->websocket_url : self->link->url, self->bootstraps, self->expires);
    g_autoptr(GBytes) plain = g_bytes_new(inner, strlen(inner));
    g_autoptr(GError) error = NULL;
    g_autofree char *encrypted = envelope_encrypt(plain, message->signer, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) layer = g_bytes_new(encrypted, strlen(encrypted));
    const Signer *by = platform_signer(self->signed_by);
    g_autofree char *data = envelope_sign(layer, by->certificate, by->key, &error);
    g_assert_no_error(error);
    g_autoptr(JsonObject) answer = json_object_new();
    json_object_set_boolean_member(answer, "success", TRUE);
    json_object_set_string_member(answer, "data", data);
    return json_object_to_text(answer);
}

static void respond(SoupServerMessage *message, guint status, const char *text)
{
    soup_server_message_set_status(message, status ? status : 200, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, text, strlen(text));
}

static void on_bootstrap(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                         void *userdata)
{
    ScriptedPlatform *self = userdata;
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    self->bootstraps++;
    g_assert_cmpstr(soup_server_message_get_method(message), ==, "POST");
    g_autoptr(JsonObject) request = parse(body->data, (gsize)body->length);
    g_autofree char *answer = self->body ? g_strdup(self->body) : right_answer(self, request);
    respond(message, self->status, answer);
    if (self->holds) {
        g_ptr_array_add(self->held, g_object_ref(message));
        soup_server_message_pause(message);
    }
}

void scripted_platform_release(ScriptedPlatform *self)
{
    self->holds = false;
    for (guint i = 0; i < self->held->len; i++)
        soup_server_message_unpause(g_ptr_array_index(self->held, i));
    g_ptr_array_set_size(self->held, 0);
}

static void on_crl(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                   void *userdata)
{
    ScriptedPlatform *self = userdata;
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    g_autoptr(JsonObject) request = parse(body->data, (gsize)body->length);
    g_autoptr(EnvelopeSigned) verified = verify_agent(self, json_object_get_string_member(request, "smime"));
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) deflated = envelope_decrypt(verified->content, signer("platform")->key, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) inner = envelope_inflate(deflated, 1024 * 1024, &error);
    g_assert_no_error(error);
    g_ptr_array_add(self->crls, g_strndup(g_bytes_get_data(inner, NULL), g_bytes_get_size(inner)));
    respond(message, self->crl_status,
            self->crl_body ? self->crl_body : "{\"success\":true,\"message\":\"ok\"}");
}

ScriptedPlatform *scripted_platform_new(void)
{
    ScriptedPlatform *self = g_new0(ScriptedPlatform, 1);
    self->link = websocket_server_new("pkiaas.iothsm.v1");
    self->url = g_strdup_printf("http%s", self->link->url + strlen("ws"));
    *strrchr(self->url, '/') = '\0';
    self->authorities = X509_STORE_new();
    self->crls = g_ptr_array_new_with_free_func(g_free);
    self->expires = 3600;
    self->held = g_ptr_array_new_with_free_func(g_object_unref);
    soup_server_add_handler(self->link->server, "/api/public/getiotconnectiondata", on_bootstrap, self, NULL);
    soup_server_add_handler(self->link->server, "/api/public/delivercrl", on_crl, self, NULL);
    return self;
}

void scripted_platform_free(ScriptedPlatform *self)
{
    websocket_server_free(self->link);
    X509_STORE_free(self->authorities);
    X509_free(self->agent);
    g_ptr_array_unref(self->crls);
    g_ptr_array_unref(self->held);
    g_free(self->url);
    g_free(self);
}

void scripted_platform_believe(ScriptedPlatform *self, X509 *ca)
{
    X509_STORE_add_cert(self->authorities, ca);
}

/* Transfer full. */
static char *smime_of(ScriptedPlatform *self, const ScriptedMessage *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *content = g_strdelimit(g_strdup(message->content ? message->content : ""), "'", '"');
    g_autoptr(GBytes) layer = g_bytes_new(content, strlen(content));
    const Signer *by = platform_signer(message->signed_by);
    if (g_str_equal(message->type, "signature request")) {
        g_autoptr(GBytes) deflated =
            message->plaintext ? g_bytes_ref(message->plaintext) : envelope_deflate(layer, &error);
        g_assert_no_error(error);
        g_autofree char *encrypted = envelope_encrypt(deflated, self->agent, &error);
        g_assert_no_error(error);
        g_clear_pointer(&layer, g_bytes_unref);
        layer = g_bytes_new(encrypted, strlen(encrypted));
    }
    char *smime = envelope_sign(layer, by->certificate, by->key, &error);
    g_assert_no_error(error);
    return smime;
}

void scripted_platform_send(ScriptedPlatform *self, const ScriptedMessage *message)
{
    g_autofree char *members = g_strdup_printf("{%s}", message->envelope ? message->envelope : "");
    g_strdelimit(members, "'", '"');
    g_autofree char *smime = smime_of(self, message);
    g_autofree char *id = message->id ? g_strdup(message->id) : g_strdup_printf("%u", ++self->next_id);
    JsonObject *envelope = parse(members, strlen(members));
    json_object_set_string_member(envelope, "type", message->type);
    json_object_set_string_member(envelope, "smime", smime);

    g_autoptr(JsonObject) frame = json_object_new();
    json_object_set_string_member(frame, "op", "message");
    json_object_set_string_member(frame, "channel", message->channel);
    json_object_set_string_member(frame, "id", id);
    json_object_set_string_member(frame, "publisher",
                                  message->publisher ? message->publisher : PLATFORM_PUBLISHER);
    json_object_set_int_member(frame, "age", message->age_ms);
    json_object_set_object_member(frame, "message", envelope);
    g_autofree char *text = json_object_to_text(frame);
    soup_websocket_connection_send_text(self->link->connection, text);
}

static JsonObject *envelope_at(ScriptedPlatform *self, guint index, const char *type)
{
    JsonObject *frame = g_ptr_array_index(self->link->frames, index);
    if (!g_str_equal(json_object_get_string_member(frame, "op"), "publish"))
        return NULL;
    JsonObject *envelope = json_object_get_object_member(frame, "message");
    return g_str_equal(json_object_get_string_member(envelope, "type"), type) ? envelope : NULL;
}

guint scripted_platform_count(ScriptedPlatform *self, const char *type)
{
    guint count = 0;
    for (guint i = 0; i < self->link->frames->len; i++)
        count += envelope_at(self, i, type) != NULL;
    return count;
}

typedef struct Search {
    ScriptedPlatform *platform;
    const char *type;
    const char *siguuid;
    JsonObject *found; /* transfer none; the newest */
} Search;

static bool is_found(void *userdata)
{
    Search *search = userdata;
    for (guint i = search->platform->link->frames->len; i-- > 0;) {
        JsonObject *envelope = envelope_at(search->platform, i, search->type);
        if (envelope && g_str_equal(json_object_get_string_member(envelope, "siguuid"), search->siguuid)) {
            search->found = envelope;
            return true;
        }
    }
    return false;
}

static JsonObject *wait_for_envelope(ScriptedPlatform *self, const char *type, const char *siguuid)
{
    Search search = {self, type, siguuid, NULL};
    test_wait_for(is_found, &search, 30);
    g_assert_cmpstr(json_object_get_string_member(search.found, "uuid"), ==, PLATFORM_PUBLISHER);
    return search.found;
}

JsonObject *scripted_platform_offer(ScriptedPlatform *self, const char *siguuid)
{
    JsonObject *envelope = wait_for_envelope(self, "services offerred", siguuid);
    g_autoptr(EnvelopeSigned) message = verify_agent(self, json_object_get_string_member(envelope, "smime"));
    return parse_bytes(message->content);
}

JsonObject *scripted_platform_answer(ScriptedPlatform *self, const char *siguuid)
{
    JsonObject *envelope = wait_for_envelope(self, "signature response", siguuid);
    g_autoptr(EnvelopeSigned) message = verify_agent(self, json_object_get_string_member(envelope, "smime"));
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) deflated = envelope_decrypt(message->content, signer("platform")->key, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) inner = envelope_inflate(deflated, 16 * 1024 * 1024, &error);
    g_assert_no_error(error);
    return parse_bytes(inner);
}
