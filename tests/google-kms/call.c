/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How calls are answered, rightly or as a fault wants it. */

#include "tests/google-kms/cloud.h"
#include <string.h>

enum {
    LARGE_SIZE = 16 * 1024 * 1024,
    RANDOM_WORDS = 8,
};

typedef struct AccessToken {
    Account *account;
    gint64 expires; /* monotonic, microseconds */
} AccessToken;

static void answer_text(SoupServerMessage *message, guint status, const char *type, const char *text,
                        gsize size)
{
    soup_server_message_set_status(message, status, NULL);
    soup_server_message_set_response(message, type, SOUP_MEMORY_COPY, text, size);
}

static void drop(SoupServerMessage *message)
{
    g_autoptr(GIOStream) stream = soup_server_message_steal_connection(message);
    g_io_stream_close(stream, NULL, NULL);
}

static void sign_finished(SoupServerMessage *message, gpointer data)
{
    Cloud *cloud = data;
    cloud->signing--;
}

static const char *status_name(guint code)
{
    static const struct {
        guint code;
        const char *name;
    } names[] = {{400, "INVALID_ARGUMENT"}, {401, "UNAUTHENTICATED"},    {403, "PERMISSION_DENIED"},
                 {404, "NOT_FOUND"},        {429, "RESOURCE_EXHAUSTED"}, {500, "INTERNAL"},
                 {501, "UNIMPLEMENTED"},    {503, "UNAVAILABLE"},        {504, "DEADLINE_EXCEEDED"}};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (names[i].code == code)
            return names[i].name;
    return "UNKNOWN";
}

static void answer_status(Call *call)
{
    if (call->fault.retry_after >= 0) {
        g_autofree char *seconds = g_strdup_printf("%d", call->fault.retry_after);
        soup_message_headers_append(soup_server_message_get_response_headers(call->message), "Retry-After",
                                    seconds);
    }
    call_refuse(call, call->fault.status, status_name(call->fault.status),
                "A fault that was asked for: status %u.", call->fault.status);
}

bool call_begin(Call *call, Cloud *cloud, SoupServerMessage *message, GHashTable *query, Place place)
{
    *call = (Call){.cloud = cloud, .message = message, .query = query};
    cloud->counts[place]++;
    GSocketAddress *from = soup_server_message_get_remote_address(message);
    guint16 port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(from));
    g_hash_table_add(cloud->ports, GUINT_TO_POINTER((guint)port));
    if (place == PLACE_SIGN) {
        cloud->signing++;
        cloud->most_signing = MAX(cloud->most_signing, cloud->signing);
        g_signal_connect(message, "finished", G_CALLBACK(sign_finished), cloud);
    }
    call->fault = faults_strike(cloud->faults, place);
    static const char page[] = "<html><body><h1>Something went wrong</h1></body></html>";
    switch (call->fault.kind) {
    case FAULT_STATUS:
        answer_status(call);
        return false;
    case FAULT_DROP:
        drop(message);
        return false;
    case FAULT_NOT_JSON:
        answer_text(message, SOUP_STATUS_OK, "text/html", page, sizeof page - 1);
        return false;
    default:
        return true;
    }
}

static gboolean wake(gpointer data)
{
    SoupServerMessage *message = data;
    soup_server_message_unpause(message);
    g_object_unref(message);
    return G_SOURCE_REMOVE;
}

/* |text| has room for nothing more; what is added is a member that nobody reads. */
static char *enlarge(const char *text)
{
    GString *large = g_string_sized_new(LARGE_SIZE + strlen(text));
    g_string_append(large, "{\"padding\":\"");
    while (large->len < LARGE_SIZE)
        g_string_append(large, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    g_string_append(large, "\",");
    g_string_append(large, text + 1);
    return g_string_free(large, FALSE);
}

void call_answer(Call *call, JsonObject *object)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(root, object);
    g_autofree char *text = json_to_string(root, TRUE);
    if (call->fault.kind == FAULT_LARGE) {
        g_autofree char *small = g_steal_pointer(&text);
        text = enlarge(small);
    }
    gsize size = strlen(text);
    if (call->fault.kind == FAULT_TRUNCATED)
        size /= 2;
    answer_text(call->message, SOUP_STATUS_OK, "application/json; charset=UTF-8", text, size);
    if (call->fault.kind == FAULT_SLOW) {
        soup_server_message_pause(call->message);
        g_timeout_add(call->fault.milliseconds, wake, g_object_ref(call->message));
    }
}

void call_refuse(Call *call, guint code, const char *status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autoptr(JsonObject) object = json_object_new();
    JsonObject *error = json_object_new();
    json_object_set_int_member(error, "code", code);
    json_object_set_string_member(error, "message", text);
    json_object_set_string_member(error, "status", status);
    json_object_set_object_member(object, "error", error);
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(root, object);
    g_autofree char *json = json_to_string(root, TRUE);
    answer_text(call->message, code, "application/json; charset=UTF-8", json, strlen(json));
}

JsonObject *call_body(Call *call)
{
    SoupMessageBody *body = soup_server_message_get_request_body(call->message);
    g_autoptr(GBytes) bytes = soup_message_body_flatten(body);
    g_autoptr(JsonParser) parser = json_parser_new();
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    if (!text || !json_parser_load_from_data(parser, text, (gssize)size, NULL))
        return NULL;
    JsonNode *root = json_parser_get_root(parser);
    return root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_dup_object(root) : NULL;
}

const char *member_text(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

/* ---- access tokens ---- */

void call_grant_token(Call *call, Account *account)
{
    Cloud *cloud = call->cloud;
    GString *text = g_string_new("ya29.");
    for (int i = 0; i < RANDOM_WORDS; i++)
        g_string_append_printf(text, "%08x", g_random_int());
    AccessToken *token = g_new(AccessToken, 1);
    token->account = account;
    token->expires = g_get_monotonic_time() + cloud->token_life * G_USEC_PER_SEC;
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "access_token", text->str);
    json_object_set_int_member(answer, "expires_in", cloud->token_life);
    json_object_set_string_member(answer, "token_type", "Bearer");
    g_hash_table_insert(cloud->tokens, g_string_free(text, FALSE), token);
    call_answer(call, answer);
}

bool call_authenticate(Call *call)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(call->message);
    const char *header = soup_message_headers_get_one(headers, "Authorization");
    AccessToken *token = header && g_str_has_prefix(header, "Bearer ")
                             ? g_hash_table_lookup(call->cloud->tokens, header + strlen("Bearer "))
                             : NULL;
    if (token && token->expires > g_get_monotonic_time()) {
        call->account = token->account;
        return true;
    }
    call_refuse(call, SOUP_STATUS_UNAUTHORIZED, "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
                "or other valid authentication credential.");
    return false;
}

/* ---- pages ---- */

static const char *query_text(Call *call, const char *name)
{
    return call->query ? g_hash_table_lookup(call->query, name) : NULL;
}

bool call_page(Call *call, guint total, JsonObject *object, guint *ret_first, guint *ret_end)
{
    const char *token = query_text(call, "pageToken");
    const char *wanted = query_text(call, "pageSize");
    guint64 size = wanted ? g_ascii_strtoull(wanted, NULL, 10) : 0;
    guint64 first = 0;
    size = size > 0 ? MIN(size, call->cloud->page_size) : call->cloud->page_size;
    if (token && *token &&
        (!g_str_has_prefix(token, "from-") ||
         !g_ascii_string_to_unsigned(token + strlen("from-"), 10, 1, total, &first, NULL))) {
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT", "Invalid page token.");
        return false;
    }
    *ret_first = (guint)first;
    *ret_end = (guint)MIN(first + size, total);
    if (*ret_end < total) {
        g_autofree char *next = g_strdup_printf("from-%u", *ret_end);
        json_object_set_string_member(object, "nextPageToken", next);
    }
    return true;
}
