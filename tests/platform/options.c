/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tables of options, each with the groups it belongs to; a verb gets those of its groups. */

#include "tests/platform/options.h"
#include <string.h>

typedef struct GroupedEntry {
    unsigned groups; /* 0: every verb */
    GOptionEntry entry;
} GroupedEntry;

#define TEXT(GROUPS, NAME, FIELD, HELP, ARGUMENT)                                                            \
    {                                                                                                        \
        GROUPS,                                                                                              \
        {                                                                                                    \
            NAME, 0, 0, G_OPTION_ARG_STRING, &options->FIELD, HELP, ARGUMENT                                 \
        }                                                                                                    \
    }
#define TEXTS(GROUPS, NAME, FIELD, HELP, ARGUMENT)                                                           \
    {                                                                                                        \
        GROUPS,                                                                                              \
        {                                                                                                    \
            NAME, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->FIELD, HELP, ARGUMENT                           \
        }                                                                                                    \
    }
#define NUMBER(GROUPS, NAME, FIELD, HELP, ARGUMENT)                                                          \
    {                                                                                                        \
        GROUPS,                                                                                              \
        {                                                                                                    \
            NAME, 0, 0, G_OPTION_ARG_INT64, &options->FIELD, HELP, ARGUMENT                                  \
        }                                                                                                    \
    }
#define FLAG(GROUPS, NAME, FIELD, HELP)                                                                      \
    {                                                                                                        \
        GROUPS,                                                                                              \
        {                                                                                                    \
            NAME, 0, 0, G_OPTION_ARG_NONE, &options->FIELD, HELP, NULL                                       \
        }                                                                                                    \
    }

static void add_entries(GOptionContext *context, ClientOptions *options, OptionGroups groups)
{
    const GroupedEntry all[] = {
        TEXT(0, "directory", directory, "the folder of the running platform", "DIR"),
        FLAG(OPTIONS_JSON, "json", json, "JSON on one line"),
        TEXT(OPTIONS_TEMPLATE | OPTIONS_EXCHANGE, "out", out, "write the result to FILE", "FILE"),
        TEXT(OPTIONS_AUTHORITY | OPTIONS_EXCHANGE, "ca", ca, "the authority's name (or thumbprint)", "NAME"),
        TEXT(OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE, "name", name, "common name", "NAME"),
        TEXT(OPTIONS_TEMPLATE, "subject", subject, "whole subject, as \"C=US, O=Example, CN=Name\"",
             "SUBJECT"),
        TEXT(OPTIONS_TEMPLATE, "crl-url", crl_url, "CRL distribution point", "URL"),
        TEXT(OPTIONS_TEMPLATE, "issuer-url", issuer_url, "authority information access: CA issuers", "URL"),
        NUMBER(OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE | OPTIONS_CRL, "days", days, "validity", "N"),
        NUMBER(OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE, "pathlen", pathlen, "CA:TRUE with that path length",
               "N"),
        TEXT(OPTIONS_EXCHANGE, "siguuid", siguuid, "the request's siguuid instead of a fresh one", "TEXT"),
        NUMBER(OPTIONS_EXCHANGE, "ttl", ttl, "ttl in the envelopes (30; 0: none)", "SECONDS"),
        NUMBER(OPTIONS_EXCHANGE, "timeout", timeout, "patience for one attempt (30)", "SECONDS"),
        NUMBER(OPTIONS_EXCHANGE, "attempts", attempts, "the same siguuid again after a timeout (1)", "N"),
        FLAG(OPTIONS_EXCHANGE, "reuse-offer", reuse_offer,
             "don't solicit where an earlier offer still holds"),
        TEXT(OPTIONS_CERTIFICATE, "csr", csr, "a PEM certificate request", "FILE"),
        TEXT(OPTIONS_CERTIFICATE, "new-key", new_key, "make a key: rsa2048, rsa4096, p256 (usual), p384",
             "TYPE"),
        TEXT(OPTIONS_CERTIFICATE, "key-out", key_out, "where the new key goes", "FILE"),
        TEXT(OPTIONS_CERTIFICATE, "key-usage", key_usage, "as digitalSignature,keyEncipherment", "USAGES"),
        TEXT(OPTIONS_CERTIFICATE, "eku", eku, "as serverAuth,clientAuth", "USAGES"),
        TEXTS(OPTIONS_CERTIFICATE, "dns", dns, "alternative name, may be repeated", "NAME"),
        TEXTS(OPTIONS_CERTIFICATE, "ip", ip, "alternative address, may be repeated", "ADDRESS"),
        TEXTS(OPTIONS_CERTIFICATE, "uri", uri, "alternative URI, may be repeated", "URI"),
        TEXTS(OPTIONS_CERTIFICATE, "email", email, "alternative address, may be repeated", "ADDRESS"),
        TEXT(OPTIONS_CERTIFICATE | OPTIONS_CMS, "options", options,
             "JSON of `options`, or @FILE; the other options add to it", "JSON"),
        TEXTS(OPTIONS_CRL, "revoke", revoke, "revoke it before, may be repeated", "SERIAL[,REASON]"),
        TEXT(OPTIONS_CMS, "data", data, "what is to be signed, or @FILE", "TEXT"),
        TEXT(OPTIONS_CMS, "outform", outform, "PEM (usual), SMIME or DER", "FORM"),
        TEXT(OPTIONS_CMS, "encoding", encoding, "binary: send the data as base64url", "ENCODING"),
        TEXT(OPTIONS_CMS, "addcerts", addcerts, "PEM certificates to add", "FILE"),
        TEXT(OPTIONS_CMS, "contenttype", contenttype, "content type", "OID"),
        FLAG(OPTIONS_CMS, "no-smimecap", no_smimecap, "without the attribute sMIMECapabilities"),
        TEXT(OPTIONS_DRIVE, "kind", kind, "csr (usual), crl, cms or mixed", "KIND"),
        NUMBER(OPTIONS_DRIVE, "requests", requests, "how many (100)", "N"),
        NUMBER(OPTIONS_DRIVE, "concurrency", concurrency, "how many at a time (8)", "N"),
        NUMBER(OPTIONS_DRIVE, "samples", samples, "how many the openssl command judges, too (10)", "N"),
        NUMBER(OPTIONS_DRIVE, "seconds", seconds, "begin requests for that long, however many", "N"),
        FLAG(OPTIONS_DRIVE, "retry-refused", retry_refused,
             "a refusal is asked for again while attempts are left"),
        NUMBER(OPTIONS_DRIVE, "linger", linger, "wait that long for duplicates at the end", "MS"),
        FLAG(OPTIONS_FAULTS, "list", list, "all faults, with their parameters"),
        FLAG(OPTIONS_FAULTS, "clear", clear, "end what was set before"),
        FLAG(OPTIONS_FAULTS, "chaos", chaos, "a bit of everything that an agent has to survive"),
        TEXT(OPTIONS_FAULTS, "at", at,
             "solicit, request, message (both) or bootstrap, where a fault has the choice", "PLACE"),
        NUMBER(OPTIONS_FAULTS, "count", count, "how many times (1, with --probability for ever = 0)", "N"),
        {OPTIONS_FAULTS,
         {"probability", 0, 0, G_OPTION_ARG_DOUBLE, &options->probability, "of striking each time", "0..1"}},
        NUMBER(OPTIONS_FAULTS, "seed", seed, "of the dice; the one in use is printed", "N"),
        NUMBER(OPTIONS_FAULTS, "close-now", close_now, "close all connections at once", "CODE"),
        TEXT(OPTIONS_RAW, "signtype", signtype, "of the envelope (csr)", "TEXT"),
        TEXT(OPTIONS_RAW, "json", json_file, "JSON of the inner member `request` (- is stdin)", "FILE"),
        TEXT(OPTIONS_RAW, "inner", inner_file, "the whole inner text, which needn't be JSON", "FILE"),
        TEXT(OPTIONS_RAW, "uuid", uuid, "addressee instead of who offered", "TEXT"),
        TEXT(OPTIONS_RAW, "outer-siguuid", outer_siguuid, "the envelope's instead of the same", "TEXT"),
        NUMBER(OPTIONS_RAW, "caindex", caindex, "instead of the offered one", "N"),
        NUMBER(OPTIONS_RAW, "signing-time", signing_time, "seconds from now, may be negative", "SECONDS"),
        TEXT(OPTIONS_WAIT, "counter", counter, "a counter of status instead of agents", "NAME"),
        NUMBER(OPTIONS_WAIT, "value", value, "what the counter must reach (1)", "N"),
        NUMBER(OPTIONS_WAIT, "agents", agents, "how many agents (1; 0: none any more)", "N"),
        {OPTIONS_FAULTS | OPTIONS_AUTHORITY,
         {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->rest, NULL, NULL}},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i].groups == 0 || all[i].groups & groups) {
            const GOptionEntry pair[] = {all[i].entry, {NULL}};
            g_option_context_add_main_entries(context, pair, NULL);
        }
}

bool options_parse(ClientOptions *options, OptionGroups groups, const char *summary, int *argc, char ***argv,
                   GError **error)
{
    *options = (ClientOptions){.days = OPTION_UNSET,
                               .pathlen = OPTION_UNSET,
                               .ttl = OPTION_UNSET,
                               .timeout = OPTION_UNSET,
                               .attempts = OPTION_UNSET,
                               .requests = OPTION_UNSET,
                               .concurrency = OPTION_UNSET,
                               .samples = OPTION_UNSET,
                               .linger = OPTION_UNSET,
                               .seconds = OPTION_UNSET,
                               .count = OPTION_UNSET,
                               .probability = -1,
                               .seed = OPTION_UNSET,
                               .close_now = OPTION_UNSET,
                               .caindex = OPTION_UNSET,
                               .signing_time = OPTION_UNSET,
                               .value = OPTION_UNSET,
                               .agents = OPTION_UNSET};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, summary);
    add_entries(context, options, groups);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (*argc > 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "\"%s\" is one argument too many",
                    (*argv)[1]);
        return false;
    }
    if (!options->directory && !options->list) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            "--directory=DIR is missing: the folder that `serve` was given");
        return false;
    }
    return true;
}

/* Text, or what @FILE holds. Transfer full. */
static char *text_or_file(const char *text, gsize *ret_size, GError **error)
{
    char *contents = NULL;
    if (text && *text == '@') {
        g_file_get_contents(text + 1, &contents, ret_size, error);
        return contents;
    }
    contents = g_strdup(text ?: "");
    *ret_size = strlen(contents);
    return contents;
}

static JsonObject *base_options(const char *text, GError **error)
{
    gsize size;
    if (!text)
        return json_object_new();
    g_autofree char *json = text_or_file(text, &size, error);
    g_autoptr(JsonObject) given = json ? object_from_text(json, (gssize)size, error) : NULL;
    if (!given)
        return NULL;
    JsonObject *own = json_object_new(); /* what was parsed is immutable */
    g_autoptr(GList) names = json_object_get_members(given);
    for (GList *name = names; name; name = name->next)
        json_object_set_member(own, name->data, json_node_copy(json_object_get_member(given, name->data)));
    return own;
}

static void set_array(JsonObject *object, const char *name, char **texts)
{
    if (!texts)
        return;
    JsonArray *array = json_array_new();
    for (char **text = texts; *text; text++)
        json_array_add_string_element(array, *text);
    json_object_set_array_member(object, name, array);
}

static void set_usages(JsonObject *extensions, const char *name, const char *joined, bool critical)
{
    if (!joined)
        return;
    g_auto(GStrv) usages = g_strsplit(joined, ",", -1);
    JsonObject *object = json_object_new();
    json_object_set_boolean_member(object, "critical", critical);
    set_array(object, "usages", usages);
    json_object_set_object_member(extensions, name, object);
}

static JsonObject *extensions_from(const ClientOptions *options)
{
    JsonObject *extensions = json_object_new();
    if (options->pathlen != OPTION_UNSET) {
        JsonObject *constraints = json_object_new();
        json_object_set_boolean_member(constraints, "critical", TRUE);
        json_object_set_boolean_member(constraints, "CA", TRUE);
        json_object_set_int_member(constraints, "pathlen", options->pathlen);
        json_object_set_object_member(extensions, "basicConstraints", constraints);
    }
    set_usages(extensions, "keyUsage", options->key_usage, true);
    set_usages(extensions, "extendedKeyUsage", options->eku, false);
    if (options->dns || options->ip || options->uri || options->email) {
        JsonObject *names = json_object_new();
        set_array(names, "DNS", options->dns);
        set_array(names, "IP", options->ip);
        set_array(names, "URI", options->uri);
        set_array(names, "email", options->email);
        json_object_set_object_member(extensions, "SANs", names);
    }
    return extensions;
}

JsonObject *options_for_certificate(const ClientOptions *options, GError **error)
{
    JsonObject *object = base_options(options->options, error);
    if (!object)
        return NULL;
    if (options->days != OPTION_UNSET)
        json_object_set_int_member(object, "days", options->days);
    if (options->name) {
        JsonObject *subject = json_object_new();
        json_object_set_string_member(subject, "commonName", options->name);
        json_object_set_object_member(object, "subject", subject);
    }
    g_autoptr(JsonObject) extensions = extensions_from(options);
    if (json_object_get_size(extensions) > 0)
        json_object_set_object_member(object, "extensions", json_object_ref(extensions));
    return object;
}

static char *base64url(const char *data, gsize size)
{
    char *text = g_base64_encode((const guchar *)data, size);
    char *padding = strchr(text, '=');
    if (padding)
        *padding = '\0';
    return g_strdelimit(g_strdelimit(text, "+", '-'), "/", '_');
}

JsonObject *options_for_cms(const ClientOptions *options, GBytes **ret_data, GError **error)
{
    gsize size;
    gsize certificates_size;
    g_autofree char *data = text_or_file(options->data, &size, error);
    g_autoptr(JsonObject) object = data ? base_options(options->options, error) : NULL;
    if (!object)
        return NULL;
    bool binary = g_strcmp0(options->encoding, "binary") == 0 || !g_utf8_validate_len(data, size, NULL);
    g_autofree char *encoded = binary ? base64url(data, size) : g_strdup(data);
    json_object_set_string_member(object, "data", encoded);
    if (binary)
        json_object_set_string_member(object, "encoding", "binary");
    json_object_set_string_member(object, "outform", options->outform ?: "PEM");
    if (options->no_smimecap)
        json_object_set_boolean_member(object, "smimecap", FALSE);
    if (options->contenttype)
        json_object_set_string_member(object, "contenttype", options->contenttype);
    if (options->addcerts) {
        g_autofree char *certificates = NULL;
        if (!g_file_get_contents(options->addcerts, &certificates, &certificates_size, error))
            return NULL;
        json_object_set_string_member(object, "addcerts", certificates);
    }
    *ret_data = g_bytes_new(data, size);
    return g_steal_pointer(&object);
}
