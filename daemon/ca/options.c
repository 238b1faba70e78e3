/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads `options` member by member. `module`, `requestAttributes` and `string_mask` mean nothing when a
 * certificate is issued; members that protocol.md does not name are room to grow and are passed over. */

#include "daemon/ca/options.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/extensions.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/subject.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"

enum { SHOWN_HASH_LENGTH_MAX = 16 };

void issue_options_free(IssueOptions *options)
{
    if (!options)
        return;
    X509_NAME_free(options->subject);
    extensions_free(options->extensions);
    g_free(options->declined_hash);
    g_free(options);
}

const EVP_MD *digest_from_name(const char *name)
{
    if (g_ascii_strcasecmp(name, "sha256") == 0)
        return EVP_sha256();
    if (g_ascii_strcasecmp(name, "sha384") == 0)
        return EVP_sha384();
    return g_ascii_strcasecmp(name, "sha512") == 0 ? EVP_sha512() : NULL;
}

static void read_hash(IssueOptions *issue, JsonObject *options)
{
    JsonNode *node = json_object_get_member(options, "hash");
    issue->digest = EVP_sha256();
    if (!node || JSON_NODE_HOLDS_NULL(node))
        return;
    const char *name = JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
                           ? json_node_get_string(node)
                           : "";
    const EVP_MD *digest = digest_from_name(name);
    if (digest)
        issue->digest = digest;
    else
        issue->declined_hash =
            g_utf8_strlen(name, -1) <= SHOWN_HASH_LENGTH_MAX && !characters_have_control(name)
                ? g_strdup(name)
                : g_strdup("unknown");
}

static bool is_false(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
           !json_node_get_boolean(node);
}

/* Absent: the CSR's; null or false: none; an object: that. */
static X509_NAME *read_subject(JsonObject *options, X509_REQ *request, GError **error)
{
    JsonNode *node = json_object_get_member(options, "subject");
    if (!node)
        return subject_from_name(X509_REQ_get_subject_name(request), error);
    if (JSON_NODE_HOLDS_NULL(node) || is_false(node))
        return X509_NAME_new();
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid subject: not an object"), NULL;
    return subject_from_json(json_node_get_object(node), error);
}

static X509_EXTENSIONS *read_extensions(JsonObject *options, GError **error)
{
    JsonNode *node = json_object_get_member(options, "extensions");
    if (!node || JSON_NODE_HOLDS_NULL(node))
        return sk_X509_EXTENSION_new_null();
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid extensions: not an object"), NULL;
    return extensions_from_json(json_node_get_object(node), error);
}

static bool take_from_request(IssueOptions *issue, X509_REQ *request, gint64 now, GError **error)
{
    g_autoptr(JsonObject) nothing = json_object_new();
    g_autoptr(X509_EXTENSIONS) requested = X509_REQ_get_extensions(request);

    issue->digest = EVP_sha256();
    issue->subject = subject_from_name(X509_REQ_get_subject_name(request), error);
    if (!issue->subject)
        return false;
    issue->extensions = extensions_from_request(requested, error);
    return issue->extensions && validity_from_options(nothing, now, &issue->validity, error);
}

static bool take_from_options(IssueOptions *issue, JsonObject *options, X509_REQ *request, gint64 now,
                              GError **error)
{
    read_hash(issue, options);
    if (!validity_from_options(options, now, &issue->validity, error))
        return false;
    issue->subject = read_subject(options, request, error);
    if (!issue->subject)
        return false;
    issue->extensions = read_extensions(options, error);
    return issue->extensions != NULL;
}

IssueOptions *issue_options_new(JsonObject *options, X509_REQ *request, gint64 now, GError **error)
{
    g_autoptr(IssueOptions) issue = g_new0(IssueOptions, 1);
    bool good = options ? take_from_options(issue, options, request, now, error)
                        : take_from_request(issue, request, now, error);
    return good ? g_steal_pointer(&issue) : NULL;
}
