/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See support.h. Failures here are assertions: a test that can't be set up has failed. */

#include "tests/support/support.h"
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static GPtrArray *directories;

static void remove_tree(const char *path)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return;
    if (S_ISDIR(status.st_mode)) {
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;
        while (dir && (name = g_dir_read_name(dir))) {
            g_autofree char *child = g_build_filename(path, name, NULL);
            remove_tree(child);
        }
        if (dir)
            g_dir_close(dir);
        (void)g_rmdir(path);
    } else {
        (void)g_unlink(path);
    }
}

static void remove_directories(void)
{
    for (guint i = 0; i < directories->len; i++)
        remove_tree(g_ptr_array_index(directories, i));
    g_ptr_array_unref(directories);
}

char *test_directory(void)
{
    g_autoptr(GError) error = NULL;
    if (!directories) {
        directories = g_ptr_array_new_with_free_func(g_free);
        atexit(remove_directories);
    }
    char *path = g_dir_make_tmp("iothsm-test-XXXXXX", &error);
    g_assert_no_error(error);
    g_ptr_array_add(directories, g_strdup(path));
    return path;
}

char *test_run(const char *const *argv, const char *input, int expect_status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) child = g_subprocess_newv(
        argv,
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE,
        &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) in = g_bytes_new(input ? input : "", input ? strlen(input) : 0);
    g_autoptr(GBytes) out = NULL;
    g_subprocess_communicate(child, in, NULL, &out, NULL, &error);
    g_assert_no_error(error);
    char *text = g_strndup(g_bytes_get_data(out, NULL), g_bytes_get_size(out));
    int status = g_subprocess_get_if_exited(child) ? g_subprocess_get_exit_status(child) : -2;
    if (expect_status >= 0 && status != expect_status)
        g_error("%s ended with %d instead of %d:\n%s", argv[0], status, expect_status, text);
    return text;
}

static gboolean on_timeout(gpointer userdata)
{
    *(bool *)userdata = true;
    return G_SOURCE_REMOVE;
}

void test_wait_for(bool (*condition)(void *userdata), void *userdata, guint seconds)
{
    bool late = false;
    guint timer = g_timeout_add_seconds(seconds, on_timeout, &late);
    while (!condition(userdata) && !late)
        g_main_context_iteration(NULL, TRUE);
    if (late)
        g_error("what the test waits for did not happen within %u s", seconds);
    g_source_remove(timer);
}

static bool is_set(void *flag)
{
    return *(const bool *)flag;
}

void test_wait(const bool *flag, guint seconds)
{
    test_wait_for(is_set, (void *)flag, seconds);
}

static gboolean on_tick(gpointer userdata)
{
    return G_SOURCE_CONTINUE;
}

void test_poll_for(bool (*condition)(void *userdata), void *userdata, guint seconds)
{
    guint tick = g_timeout_add(5, on_tick, NULL);
    test_wait_for(condition, userdata, seconds);
    g_source_remove(tick);
}

static gboolean on_passed(gpointer passed)
{
    *(bool *)passed = true;
    return G_SOURCE_REMOVE;
}

void test_let_pass(guint milliseconds)
{
    bool passed = false;
    g_timeout_add(milliseconds, on_passed, &passed);
    while (!passed)
        g_main_context_iteration(NULL, TRUE);
}

void test_figure(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    printf("# figure: %s\n", text);
    fflush(stdout);
}

static const struct {
    const char *type;
    guint bits;
    const char *curve;
} key_types[] = {
    {"rsa1024", 1024, NULL}, {"rsa2048", 2048, NULL}, {"rsa3072", 3072, NULL}, {"rsa4096", 4096, NULL},
    {"p256", 0, "P-256"},    {"p384", 0, "P-384"},    {"p521", 0, "P-521"},    {"ed25519", 0, NULL},
};

EVP_PKEY *test_new_key(const char *type)
{
    EVP_PKEY *key = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(key_types); i++) {
        if (strcmp(key_types[i].type, type) != 0)
            continue;
        if (key_types[i].bits)
            key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)key_types[i].bits);
        else if (key_types[i].curve)
            key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", key_types[i].curve);
        else
            key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    if (!key)
        g_error("no key of type %s", type);
    return key;
}

EVP_PKEY *test_key(const char *type)
{
    static GHashTable *keys;
    if (!keys)
        keys = g_hash_table_new(g_str_hash, g_str_equal);
    EVP_PKEY *key = g_hash_table_lookup(keys, type);
    if (!key) {
        key = test_new_key(type);
        g_hash_table_insert(keys, g_strdup(type), key);
    }
    EVP_PKEY_up_ref(key);
    return key;
}

static void set_name(X509_NAME *name, const char *subject)
{
    g_auto(GStrv) pairs = g_strsplit(subject, ",", -1);
    for (char **pair = pairs; *pair; pair++) {
        char *equals = strchr(g_strstrip(*pair), '=');
        g_assert_nonnull(equals);
        *equals = '\0';
        g_assert_cmpint(X509_NAME_add_entry_by_txt(name, *pair, MBSTRING_UTF8,
                                                   (const unsigned char *)equals + 1, -1, -1, 0),
                        ==, 1);
    }
}

static void set_serial(X509 *certificate, const char *hex)
{
    BIGNUM *number = NULL;
    if (hex) {
        g_assert_cmpint(BN_hex2bn(&number, hex), >, 0);
    } else {
        number = BN_new();
        g_assert_cmpint(BN_rand(number, 159, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY), ==, 1);
    }
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
}

static void add_extensions(X509 *certificate, X509 *issuer, const char *const *pairs)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer ? issuer : certificate, certificate, NULL, NULL, 0);
    for (; pairs && pairs[0]; pairs += 2) {
        X509_EXTENSION *extension = X509V3_EXT_conf(NULL, &context, pairs[0], pairs[1]);
        if (!extension)
            g_error("bad extension %s=%s", pairs[0], pairs[1]);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
}

X509 *test_certificate(const TestCertificate *what, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    X509 *certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    set_serial(certificate, what->serial);
    set_name(X509_get_subject_name(certificate), what->subject);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer : certificate));
    ASN1_TIME_set(X509_getm_notBefore(certificate),
                  (time_t)(what->not_before ? what->not_before : now - 3600));
    ASN1_TIME_set(X509_getm_notAfter(certificate),
                  (time_t)(what->not_after ? what->not_after : now + G_GINT64_CONSTANT(3650) * 86400));
    X509_set_pubkey(certificate, key);
    add_extensions(certificate, issuer, what->extensions);

    EVP_PKEY *signer = issuer ? issuer_key : key;
    const EVP_MD *digest = EVP_PKEY_is_a(signer, "ED25519")
                               ? NULL
                               : EVP_get_digestbyname(what->digest ? what->digest : "sha256");
    g_assert_cmpint(X509_sign(certificate, signer, digest), >, 0);
    return certificate;
}

X509 *test_ca(const char *common_name, EVP_PKEY *key)
{
    static const char *const extensions[] = {
        "basicConstraints",
        "critical,CA:TRUE",
        "keyUsage",
        "critical,keyCertSign,cRLSign,digitalSignature",
        "subjectKeyIdentifier",
        "hash",
        "authorityKeyIdentifier",
        "keyid:always",
        NULL,
    };
    g_autofree char *subject = g_strdup_printf("C=US,O=Example,CN=%s", common_name);
    return test_certificate(&(TestCertificate){.subject = subject, .extensions = extensions}, key, NULL,
                            NULL);
}

static char *take_text(BIO *bio)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    char *text = g_strndup(data, (gsize)size);
    BIO_free(bio);
    return text;
}

char *test_certificate_pem(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    g_assert_true(PEM_write_bio_X509(bio, certificate));
    return take_text(bio);
}

char *test_key_pem(EVP_PKEY *key, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    g_assert_true(PEM_write_bio_PKCS8PrivateKey(bio, key, passphrase ? EVP_aes_256_cbc() : NULL, passphrase,
                                                passphrase ? (int)strlen(passphrase) : 0, NULL, NULL));
    return take_text(bio);
}

char *test_public_key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    g_assert_true(PEM_write_bio_PUBKEY(bio, key));
    return take_text(bio);
}

char *test_request_pem(const char *subject, EVP_PKEY *key)
{
    X509_REQ *request = X509_REQ_new();
    X509_REQ_set_version(request, X509_REQ_VERSION_1);
    set_name(X509_REQ_get_subject_name(request), subject);
    X509_REQ_set_pubkey(request, key);
    g_assert_cmpint(X509_REQ_sign(request, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()), >, 0);
    BIO *bio = BIO_new(BIO_s_mem());
    g_assert_true(PEM_write_bio_X509_REQ(bio, request));
    X509_REQ_free(request);
    return take_text(bio);
}

char *test_write(const char *directory, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    char *path = g_build_filename(directory, name, NULL);
    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
    return path;
}

typedef struct LineRead {
    bool done;
    char *line;
} LineRead;

static void on_line(GObject *source, GAsyncResult *result, gpointer userdata)
{
    LineRead *read = userdata;
    read->line = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(source), result, NULL, NULL);
    read->done = true;
}

/* One stream a child, so that nothing that was read ahead is lost between two calls. */
static GDataInputStream *lines_of(GSubprocess *child)
{
    GDataInputStream *lines = g_object_get_data(G_OBJECT(child), "test-lines");
    if (!lines) {
        lines = g_data_input_stream_new(g_subprocess_get_stdout_pipe(child));
        g_object_set_data_full(G_OBJECT(child), "test-lines", lines, g_object_unref);
    }
    return lines;
}

char *test_read_line(GSubprocess *child, const char *prefix, guint seconds)
{
    for (;;) {
        LineRead read = {0};
        g_data_input_stream_read_line_async(lines_of(child), G_PRIORITY_DEFAULT, NULL, on_line, &read);
        test_wait(&read.done, seconds);
        if (!read.line)
            g_error("the program ended before it printed \"%s\"", prefix);
        if (g_str_has_prefix(read.line, prefix)) {
            char *rest = g_strdup(read.line + strlen(prefix));
            g_free(read.line);
            return rest;
        }
        g_free(read.line);
    }
}
