/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How somebody gets an access token: with an assertion that a service account's key signed (RFC 7523, as
 * Google documents it for server-to-server calls), or from the metadata server of a machine in Google Cloud.
 */

#include "tests/google-kms/cloud.h"
#include "tests/google-kms/openssl-types.h"
#include <string.h>

#define TOKEN_PATH "/token"
#define METADATA_PATH "/computeMetadata/v1"
#define GRANT_TYPE "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"

enum {
    LONGEST_LIFE = 60 * 60, /* seconds */
    SKEW = 5 * 60,
};

/* As OAuth says it, which is not the form of the other APIs. */
static void refuse_token(Call *call, const char *error, const char *description)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "error", error);
    json_object_set_string_member(object, "error_description", description);
    call_answer(call, object);
    soup_server_message_set_status(call->message, SOUP_STATUS_BAD_REQUEST, NULL);
}

static GBytes *decode(const char *text)
{
    g_autofree char *plain = g_strdup(text);
    g_strdelimit(plain, "-", '+');
    g_strdelimit(plain, "_", '/');
    static const char *const padding[] = {"", "===", "==", "="};
    g_autofree char *padded = g_strconcat(plain, padding[strlen(plain) % 4], NULL);
    gsize size;
    guint8 *bytes = g_base64_decode(padded, &size);
    return g_bytes_new_take(bytes, size);
}

static JsonObject *decode_object(const char *text)
{
    g_autoptr(GBytes) bytes = decode(text);
    g_autoptr(JsonParser) parser = json_parser_new();
    gsize size;
    const char *json = g_bytes_get_data(bytes, &size);
    if (!json || !json_parser_load_from_data(parser, json, (gssize)size, NULL) ||
        !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser)))
        return NULL;
    return json_node_dup_object(json_parser_get_root(parser));
}

static bool verifies(const Account *account, const char *assertion)
{
    const char *dot = strrchr(assertion, '.');
    g_autoptr(GBytes) signature = decode(dot + 1);
    gsize size;
    const guint8 *bytes = g_bytes_get_data(signature, &size);
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    return EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, account->key) == 1 &&
           EVP_DigestVerify(context, bytes, size, (const guint8 *)assertion, (gsize)(dot - assertion)) == 1;
}

/* What is wrong with the claims, or NULL. */
static const char *flaw_of_claims(Cloud *cloud, JsonObject *claims)
{
    g_autofree char *audience = g_strconcat(cloud->url, TOKEN_PATH, NULL);
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    gint64 issued = json_object_get_int_member_with_default(claims, "iat", 0);
    gint64 expires = json_object_get_int_member_with_default(claims, "exp", 0);
    if (g_strcmp0(member_text(claims, "aud"), audience) != 0)
        return "Invalid JWT: Failed audience check.";
    if (issued > now + SKEW || issued < now - SKEW || expires <= now || expires <= issued ||
        expires - issued > LONGEST_LIFE)
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
               "Check your iat and exp values in the JWT claim.";
    return NULL;
}

static void answer_assertion(Call *call, const char *assertion)
{
    g_auto(GStrv) parts = g_strsplit(assertion, ".", -1);
    g_autoptr(JsonObject) header = g_strv_length(parts) == 3 ? decode_object(parts[0]) : NULL;
    g_autoptr(JsonObject) claims = header ? decode_object(parts[1]) : NULL;
    if (!claims || g_strcmp0(member_text(header, "alg"), "RS256") != 0 ||
        g_strcmp0(member_text(header, "typ"), "JWT") != 0) {
        refuse_token(call, "invalid_request", "Bad Request");
        return;
    }
    const char *email = member_text(claims, "iss");
    Account *account = email ? world_account_by_email(call->cloud->world, email) : NULL;
    const char *key_id = member_text(header, "kid");
    const char *flaw;
    if (!account)
        refuse_token(call, "invalid_grant", "Invalid grant: account not found");
    else if ((key_id && !g_str_equal(key_id, account->key_id)) || !verifies(account, assertion))
        refuse_token(call, "invalid_grant", "Invalid JWT Signature.");
    else if ((flaw = flaw_of_claims(call->cloud, claims)))
        refuse_token(call, "invalid_grant", flaw);
    else if (g_strcmp0(member_text(claims, "scope"), SCOPE) != 0)
        refuse_token(call, "invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    else
        call_grant_token(call, account);
}

static void handle_token(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                         gpointer data)
{
    Call call;
    if (!call_begin(&call, data, message, query, PLACE_TOKEN))
        return;
    g_autoptr(GBytes) bytes = soup_message_body_flatten(soup_server_message_get_request_body(message));
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autofree char *form_text = g_strndup(text ?: "", size);
    g_autoptr(GHashTable) form = soup_form_decode(form_text);
    const char *assertion = g_hash_table_lookup(form, "assertion");
    if (!g_str_equal(soup_server_message_get_method(message), "POST") ||
        g_strcmp0(g_hash_table_lookup(form, "grant_type"), GRANT_TYPE) != 0 || !assertion)
        refuse_token(&call, "unsupported_grant_type", "Invalid grant_type");
    else
        answer_assertion(&call, assertion);
}

static void handle_metadata(SoupServer *server, SoupServerMessage *message, const char *path,
                            GHashTable *query, gpointer data)
{
    Call call;
    if (!call_begin(&call, data, message, query, PLACE_METADATA))
        return;
    Account *account = world_account_by_name(call.cloud->world, "machine");
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    SoupMessageHeaders *answer = soup_server_message_get_response_headers(message);
    soup_message_headers_append(answer, "Metadata-Flavor", "Google");
    const char *what = path + strlen(METADATA_PATH);
    if (g_strcmp0(soup_message_headers_get_one(headers, "Metadata-Flavor"), "Google") != 0) {
        static const char page[] = "<html><title>Error 403 (Forbidden)!!1</title></html>";
        soup_server_message_set_status(message, SOUP_STATUS_FORBIDDEN, NULL);
        soup_server_message_set_response(message, "text/html", SOUP_MEMORY_STATIC, page, sizeof page - 1);
    } else if (account && g_str_equal(what, "/instance/service-accounts/default/token")) {
        call_grant_token(&call, account);
    } else if (account && g_str_equal(what, "/instance/service-accounts/default/email")) {
        soup_server_message_set_status(message, SOUP_STATUS_OK, NULL);
        soup_server_message_set_response(message, "application/text", SOUP_MEMORY_COPY, account->email,
                                         strlen(account->email));
    } else {
        soup_server_message_set_status(message, SOUP_STATUS_NOT_FOUND, NULL);
    }
}

void oauth_serve(Cloud *cloud, SoupServer *server)
{
    soup_server_add_handler(server, TOKEN_PATH, handle_token, cloud, NULL);
    soup_server_add_handler(server, METADATA_PATH, handle_metadata, cloud, NULL);
}
