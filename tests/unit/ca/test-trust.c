/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/ca/trust.h"
#include "daemon/error.h"
#include "tests/support/support.h"
#include <string.h>

static void an_anchor_given_by_the_operator_is_the_only_one_in_the_store(void)
{
    g_autofree char *state = test_directory();
    g_autofree char *path = g_build_filename(state, "trust", "pkiaas.io.pem", NULL);
    g_autoptr(GError) error = NULL;
    EVP_PKEY *key = test_key("rsa2048");
    X509 *ca = test_ca("Message Verification CA", key);
    g_autofree char *pem = test_certificate_pem(ca);

    g_assert_true(trust_add(state, path, "platform", pem, &error));
    g_assert_no_error(error);
    X509_STORE *store = trust_open_platform(path, &error);
    g_assert_no_error(error);
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    g_assert_cmpint(sk_X509_OBJECT_num(objects), ==, 1);
    X509_STORE_free(store);

    g_autoptr(JsonArray) list = trust_list(state, path);
    g_assert_cmpuint(json_array_get_length(list), ==, 1);
    JsonObject *entry = json_array_get_object_element(list, 0);
    g_assert_cmpstr(json_object_get_string_member(entry, "purpose"), ==, "platform");
    g_assert_nonnull(strstr(json_object_get_string_member(entry, "subject"), "Message Verification CA"));
    g_assert_false(json_object_get_boolean_member(entry, "known"));
    X509_free(ca);
    EVP_PKEY_free(key);
}

static void a_missing_anchor_says_where_to_get_it_and_the_command(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(trust_open_platform("/nonexistent/anchor.pem", &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN);
    g_assert_nonnull(strstr(error->message, "smime_ca_pkiaas_io.pem"));
    g_assert_nonnull(strstr(error->message, "iothsmctl trust add --for=platform"));
}

static void expect_refused(const char *purpose, const char *pem)
{
    g_autofree char *state = test_directory();
    g_autofree char *path = g_build_filename(state, "anchor.pem", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_false(trust_add(state, path, purpose, pem, &error));
    g_assert_nonnull(error);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void what_is_not_one_ca_certificate_is_refused(void)
{
    EVP_PKEY *key = test_key("p256");
    X509 *ca = test_ca("CA", key);
    X509 *leaf = test_certificate(&(TestCertificate){.subject = "CN=leaf"}, key, ca, key);
    g_autofree char *ca_pem = test_certificate_pem(ca);
    g_autofree char *leaf_pem = test_certificate_pem(leaf);
    g_autofree char *both = g_strconcat(ca_pem, ca_pem, NULL);
    expect_refused("platform", "");
    expect_refused("platform", "no certificate");
    expect_refused("platform", leaf_pem);
    expect_refused("platform", both);
    expect_refused("everything", ca_pem);
    X509_free(ca);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static void yubico_roots_add_up_and_the_same_one_counts_once(void)
{
    g_autofree char *state = test_directory();
    EVP_PKEY *key = test_key("p256");
    for (int i = 0; i < 2; i++) {
        g_autofree char *name = g_strdup_printf("Root %d", i);
        X509 *ca = test_ca(name, key);
        g_autofree char *pem = test_certificate_pem(ca);
        g_assert_true(trust_add(state, "/unused", "yubico", pem, NULL));
        g_assert_true(trust_add(state, "/unused", "yubico", pem, NULL));
        X509_free(ca);
    }
    g_autoptr(JsonArray) list = trust_list(state, "/nonexistent");
    g_assert_cmpuint(json_array_get_length(list), ==, 2);
    EVP_PKEY_free(key);
}

/* What is written can be read again; what can't be read again is not written. */
static void a_certificate_above_the_limit_leaves_what_was_trusted(void)
{
    g_autofree char *state = test_directory();
    g_autofree char *path = g_build_filename(state, "anchor.pem", NULL);
    g_autofree char *comment = g_strnfill(300 * 1024, 'x');
    const char *const extensions[] = {"basicConstraints", "critical,CA:TRUE", "nsComment", comment, NULL};
    EVP_PKEY *key = test_key("p256");
    X509 *small = test_ca("Small", key);
    X509 *large =
        test_certificate(&(TestCertificate){.subject = "CN=Large", .extensions = extensions}, key, NULL, key);
    g_autofree char *small_pem = test_certificate_pem(small);
    g_autofree char *large_pem = test_certificate_pem(large);
    g_autoptr(GError) error = NULL;
    g_assert_true(trust_add(state, path, "platform", small_pem, NULL));
    g_assert_false(trust_add(state, path, "platform", large_pem, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
    X509_STORE *store = trust_open_platform(path, NULL);
    g_assert_nonnull(store);
    X509_STORE_free(store);
    X509_free(small);
    X509_free(large);
    EVP_PKEY_free(key);
}

static void the_65th_yubico_root_is_refused_and_the_others_stay(void)
{
    g_autofree char *state = test_directory();
    EVP_PKEY *key = test_key("p256");
    for (int i = 1; i <= 65; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_strdup_printf("Root %d", i);
        X509 *ca = test_ca(name, key);
        g_autofree char *pem = test_certificate_pem(ca);
        if (trust_add(state, "/unused", "yubico", pem, &error))
            g_assert_cmpint(i, <=, 64);
        else
            g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
        X509_free(ca);
    }
    g_autoptr(JsonArray) list = trust_list(state, "/nonexistent");
    g_assert_cmpuint(json_array_get_length(list), ==, 64);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trust/only-anchor", an_anchor_given_by_the_operator_is_the_only_one_in_the_store);
    g_test_add_func("/trust/missing", a_missing_anchor_says_where_to_get_it_and_the_command);
    g_test_add_func("/trust/refused", what_is_not_one_ca_certificate_is_refused);
    g_test_add_func("/trust/yubico", yubico_roots_add_up_and_the_same_one_counts_once);
    g_test_add_func("/trust/too-large", a_certificate_above_the_limit_leaves_what_was_trusted);
    g_test_add_func("/trust/too-many", the_65th_yubico_root_is_refused_and_the_others_stay);
    return g_test_run();
}
