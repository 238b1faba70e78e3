/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests go in as the JSON text that arrives; answers are judged by the openssl command. */

#include "tests/unit/ca/signing-fixture.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/pem.h>
#include <string.h>

TestAuthority *test_authority_of(X509 *certificate, EVP_PKEY *key)
{
    TestAuthority *authority = g_new0(TestAuthority, 1);
    g_autofree char *pem = test_certificate_pem(certificate);
    g_autofree char *key_pem = test_key_pem(key, NULL);
    authority->key = key;
    EVP_PKEY_up_ref(key);
    authority->certificate = certificate;
    authority->directory = test_directory();
    authority->certificate_path = test_write(authority->directory, "ca.pem", pem);
    authority->key_path = test_write(authority->directory, "ca.key", key_pem);
    return authority;
}

TestAuthority *test_authority_new(const char *key_type)
{
    g_autoptr(EVP_PKEY) key = test_key(key_type);
    return test_authority_of(test_ca("Test CA", key), key);
}

void test_authority_free(TestAuthority *authority)
{
    EVP_PKEY_free(authority->key);
    X509_free(authority->certificate);
    g_free(authority->directory);
    g_free(authority->certificate_path);
    g_free(authority->key_path);
    g_free(authority);
}

char *quoted(const char *text)
{
    g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), text);
    return json_to_string(node, FALSE);
}

char *csr_request(const char *pem, const char *options)
{
    g_autofree char *csr = quoted(pem);
    return options ? g_strdup_printf("{\"csr\":%s,\"options\":%s}", csr, options)
                   : g_strdup_printf("{\"csr\":%s}", csr);
}

char *crl_request(const char *database, const char *days)
{
    g_autofree char *text = quoted(database);
    return days ? g_strdup_printf("{\"database\":%s,\"days\":%s}", text, days)
                : g_strdup_printf("{\"database\":%s}", text);
}

char *cms_request(const char *data, const char *more)
{
    g_autofree char *text = quoted(data);
    return g_strdup_printf("{\"options\":{\"data\":%s%s}}", text, more ? more : "");
}

static Signing *prepare(const TestAuthority *authority, const char *signtype, const char *request,
                        const SigningRules *rules, GError **error)
{
    const SigningRules defaults = {0};
    g_autoptr(JsonObject) object = json_object_parse(request, strlen(request), error);
    return object ? signing_new(signtype, object, authority->certificate, rules ? rules : &defaults, NOW,
                                NULL, error)
                  : NULL;
}

char *sign_with(const TestAuthority *authority, const char *signtype, const char *request,
                const SigningRules *rules)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) signing = prepare(authority, signtype, request, rules, &error);
    g_assert_no_error(error);
    signing_sign(signing, authority->key, &error);
    g_assert_no_error(error);
    return g_strdup(signing_text(signing));
}

char *sign(const TestAuthority *authority, const char *signtype, const char *request)
{
    return sign_with(authority, signtype, request, NULL);
}

void assert_refused(const TestAuthority *authority, const char *signtype, const char *request,
                    const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) signing = prepare(authority, signtype, request, NULL, &error);
    g_assert_null(signing);
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, message);
    g_assert_null(strchr(error->message, '\n'));
}

static char *p256_request(const char *options)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=From The Request", key);
    return csr_request(pem, options);
}

X509 *issue(const TestAuthority *authority, const char *options)
{
    g_autofree char *request = p256_request(options);
    g_autofree char *pem = sign(authority, "csr", request);
    assert_chains(authority, pem);
    return read_certificate(pem);
}

void assert_issue_refused(const TestAuthority *authority, const char *options, const char *message)
{
    g_autofree char *request = p256_request(options);
    assert_refused(authority, "csr", request, message);
}

X509 *read_certificate(const char *pem)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    g_assert_nonnull(certificate);
    return certificate;
}

char *openssl_text(X509 *certificate)
{
    g_autofree char *pem = test_certificate_pem(certificate);
    return test_run(
        (const char *const[]){"openssl", "x509", "-noout", "-text", "-nameopt", "RFC2253,-dn_rev", NULL}, pem,
        0);
}

char *extension_text(X509 *certificate, const char *heading)
{
    g_autofree char *text = openssl_text(certificate);
    const char *at = strstr(text, heading);
    if (!at)
        return NULL;
    at = strchr(at, '\n') + 1;
    const char *end = at;
    /* Everything that is indented deeper than the headings. */
    while (g_str_has_prefix(end, "                ") || *end == '\n')
        end = strchr(end, '\n') + 1;
    g_autofree char *lines = g_strndup(at, (gsize)(end - at));
    g_auto(GStrv) parts = g_strsplit(lines, "\n", -1);
    for (guint i = 0; parts[i]; i++)
        g_strstrip(parts[i]);
    g_autofree char *joined = g_strjoinv("\n", parts);
    return g_strdup(g_strstrip(joined));
}

void assert_contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        g_error("\"%s\" is not in:\n%s", part, text ? text : "(nothing)");
}

void assert_chains(const TestAuthority *authority, const char *pem)
{
    g_autofree char *path = test_write(authority->directory, "issued.pem", pem);
    g_autofree char *output =
        TEST_RUN("openssl", "verify", "-no_check_time", "-ignore_critical", "-no-CApath", "-no-CAstore",
                 "-CAfile", authority->certificate_path, path);
    assert_contains(output, ": OK");
}

static bool token_threads_ended(void *userdata)
{
    g_autoptr(GDir) tasks = g_dir_open("/proc/self/task", 0, NULL);
    bool ended = true;
    for (const char *task; ended && (task = g_dir_read_name(tasks));) {
        g_autofree char *path = g_build_filename("/proc/self/task", task, "comm", NULL);
        g_autofree char *name = NULL;
        ended = !g_file_get_contents(path, &name, NULL, NULL) || name[0] != 'F';
    }
    return ended;
}

void wait_for_token_threads(void)
{
    test_poll_for(token_threads_ended, NULL, 60);
}
