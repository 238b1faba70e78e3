/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tables of options, each with the groups it belongs to; a verb gets those of its groups. */

#include "tests/platform/options.h"
#include <stddef.h>
#include <string.h>

#define TEXT G_OPTION_ARG_STRING
#define TEXTS G_OPTION_ARG_STRING_ARRAY
#define FILES G_OPTION_ARG_FILENAME_ARRAY
#define NUMBER G_OPTION_ARG_INT64
#define SHARE G_OPTION_ARG_DOUBLE
#define FLAG G_OPTION_ARG_NONE
#define FIELD(name) offsetof(ClientOptions, name)

static const struct {
    unsigned groups; /* 0: every verb */
    const char *name;
    GOptionArg kind;
    gsize field;
    const char *help;
    const char *argument;
} table[] = {
    {0, "directory", TEXT, FIELD(directory), "the folder of the running platform", "DIR"},
    {OPTIONS_JSON, "json", FLAG, FIELD(json), "JSON on one line", NULL},
    {OPTIONS_TEMPLATE | OPTIONS_EXCHANGE, "out", TEXT, FIELD(out), "write the result to FILE", "FILE"},
    {OPTIONS_AUTHORITY | OPTIONS_EXCHANGE, "ca", TEXT, FIELD(ca), "the authority's name (or thumbprint)",
     "NAME"},
    {OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE, "name", TEXT, FIELD(name), "common name", "NAME"},
    {OPTIONS_TEMPLATE, "subject", TEXT, FIELD(subject), "whole subject, as \"C=US, O=Example, CN=Name\"",
     "SUBJECT"},
    {OPTIONS_TEMPLATE, "crl-url", TEXT, FIELD(crl_url), "CRL distribution point", "URL"},
    {OPTIONS_TEMPLATE, "issuer-url", TEXT, FIELD(issuer_url), "authority information access: CA issuers",
     "URL"},
    {OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE | OPTIONS_CRL, "days", NUMBER, FIELD(days), "validity", "N"},
    {OPTIONS_TEMPLATE | OPTIONS_CERTIFICATE, "pathlen", NUMBER, FIELD(pathlen),
     "CA:TRUE with that path length", "N"},
    {OPTIONS_EXCHANGE, "siguuid", TEXT, FIELD(siguuid), "the request's siguuid instead of a fresh one",
     "TEXT"},
    {OPTIONS_EXCHANGE, "ttl", NUMBER, FIELD(ttl), "ttl in the envelopes (30; 0: none)", "SECONDS"},
    {OPTIONS_EXCHANGE, "timeout", NUMBER, FIELD(timeout), "patience for one attempt (30)", "SECONDS"},
    {OPTIONS_EXCHANGE, "attempts", NUMBER, FIELD(attempts), "the same siguuid again after a timeout (1)",
     "N"},
    {OPTIONS_EXCHANGE, "reuse-offer", FLAG, FIELD(reuse_offer),
     "don't solicit where an earlier offer still holds", NULL},
    {OPTIONS_CERTIFICATE, "csr", TEXT, FIELD(csr), "a PEM certificate request", "FILE"},
    {OPTIONS_CERTIFICATE, "new-key", TEXT, FIELD(new_key), "make a key: rsa2048, rsa4096, p256 (usual), p384",
     "TYPE"},
    {OPTIONS_CERTIFICATE, "key-out", TEXT, FIELD(key_out), "where the new key goes", "FILE"},
    {OPTIONS_CERTIFICATE, "key-usage", TEXT, FIELD(key_usage), "as digitalSignature,keyEncipherment",
     "USAGES"},
    {OPTIONS_CERTIFICATE, "eku", TEXT, FIELD(eku), "as serverAuth,clientAuth", "USAGES"},
    {OPTIONS_CERTIFICATE, "dns", TEXTS, FIELD(dns), "alternative name, may be repeated", "NAME"},
    {OPTIONS_CERTIFICATE, "ip", TEXTS, FIELD(ip), "alternative address, may be repeated", "ADDRESS"},
    {OPTIONS_CERTIFICATE, "uri", TEXTS, FIELD(uri), "alternative URI, may be repeated", "URI"},
    {OPTIONS_CERTIFICATE, "email", TEXTS, FIELD(email), "alternative address, may be repeated", "ADDRESS"},
    {OPTIONS_CERTIFICATE | OPTIONS_CMS, "options", TEXT, FIELD(options),
     "JSON of `options`, or @FILE; the other options add to it", "JSON"},
    {OPTIONS_CRL, "revoke", TEXTS, FIELD(revoke), "revoke it before, may be repeated", "SERIAL[,REASON]"},
    {OPTIONS_CMS, "data", TEXT, FIELD(data), "what is to be signed, or @FILE", "TEXT"},
    {OPTIONS_CMS, "outform", TEXT, FIELD(outform), "PEM (usual), SMIME or DER", "FORM"},
    {OPTIONS_CMS, "encoding", TEXT, FIELD(encoding), "binary: send the data as base64url", "ENCODING"},
    {OPTIONS_CMS, "addcerts", TEXT, FIELD(addcerts), "PEM certificates to add", "FILE"},
    {OPTIONS_CMS, "contenttype", TEXT, FIELD(contenttype), "content type", "OID"},
    {OPTIONS_CMS, "no-smimecap", FLAG, FIELD(no_smimecap), "without the attribute sMIMECapabilities", NULL},
    {OPTIONS_DRIVE, "kind", TEXT, FIELD(kind), "csr (usual), crl, cms or mixed", "KIND"},
    {OPTIONS_DRIVE, "requests", NUMBER, FIELD(requests), "how many (100)", "N"},
    {OPTIONS_DRIVE, "concurrency", NUMBER, FIELD(concurrency), "how many at a time (8)", "N"},
    {OPTIONS_DRIVE, "samples", NUMBER, FIELD(samples), "how many the openssl command judges, too (10)", "N"},
    {OPTIONS_DRIVE, "seconds", NUMBER, FIELD(seconds), "begin requests for that long, however many", "N"},
    {OPTIONS_DRIVE, "retry-refused", FLAG, FIELD(retry_refused),
     "a refusal is asked for again while attempts are left", NULL},
    {OPTIONS_DRIVE, "linger", NUMBER, FIELD(linger), "wait that long for duplicates at the end", "MS"},
    {OPTIONS_FAULTS, "list", FLAG, FIELD(list), "all faults, with their parameters", NULL},
    {OPTIONS_FAULTS, "clear", FLAG, FIELD(clear), "end what was set before", NULL},
    {OPTIONS_FAULTS, "chaos", FLAG, FIELD(chaos), "a bit of everything that an agent has to survive", NULL},
    {OPTIONS_FAULTS, "at", TEXT, FIELD(at),
     "solicit, request, message (both) or bootstrap, where a fault has the choice", "PLACE"},
    {OPTIONS_FAULTS, "count", NUMBER, FIELD(count), "how many times (1, with --probability for ever = 0)",
     "N"},
    {OPTIONS_FAULTS, "probability", SHARE, FIELD(probability), "of striking each time", "0..1"},
    {OPTIONS_FAULTS, "seed", NUMBER, FIELD(seed), "of the dice; the one in use is printed", "N"},
    {OPTIONS_FAULTS, "close-now", NUMBER, FIELD(close_now), "close all connections at once", "CODE"},
    {OPTIONS_RAW, "signtype", TEXT, FIELD(signtype), "of the envelope (csr)", "TEXT"},
    {OPTIONS_RAW, "json", TEXT, FIELD(json_file), "JSON of the inner member `request` (- is stdin)", "FILE"},
    {OPTIONS_RAW, "inner", TEXT, FIELD(inner_file), "the whole inner text, which needn't be JSON", "FILE"},
    {OPTIONS_RAW, "uuid", TEXT, FIELD(uuid), "addressee instead of who offered", "TEXT"},
    {OPTIONS_RAW, "outer-siguuid", TEXT, FIELD(outer_siguuid), "the envelope's instead of the same", "TEXT"},
    {OPTIONS_RAW, "caindex", NUMBER, FIELD(caindex), "instead of the offered one", "N"},
    {OPTIONS_RAW, "signing-time", NUMBER, FIELD(signing_time), "seconds from now, may be negative",
     "SECONDS"},
    {OPTIONS_WAIT, "counter", TEXT, FIELD(counter), "a counter of status instead of agents", "NAME"},
    {OPTIONS_WAIT, "value", NUMBER, FIELD(value), "what the counter must reach (1)", "N"},
    {OPTIONS_WAIT, "agents", NUMBER, FIELD(agents), "how many agents (1; 0: none any more)", "N"},
    {OPTIONS_FAULTS | OPTIONS_AUTHORITY, G_OPTION_REMAINING, FILES, FIELD(rest), NULL, NULL},
};

static void add_entries(GOptionContext *context, ClientOptions *options, OptionGroups groups)
{
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        if (table[i].groups != 0 && !(table[i].groups & groups))
            continue;
        const GOptionEntry pair[] = {{.long_name = table[i].name,
                                      .arg = table[i].kind,
                                      .arg_data = (char *)options + table[i].field,
                                      .description = table[i].help,
                                      .arg_description = table[i].argument},
                                     {NULL}};
        g_option_context_add_main_entries(context, pair, NULL);
    }
}

static void set_to_unset(ClientOptions *options)
{
    *options = (ClientOptions){.probability = -1};
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++)
        if (table[i].kind == NUMBER)
            *(gint64 *)((char *)options + table[i].field) = OPTION_UNSET;
}

bool options_parse(ClientOptions *options, OptionGroups groups, const char *summary, int *argc, char ***argv,
                   GError **error)
{
    set_to_unset(options);
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
