/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whose statements about keys are believed, and that everything which is off by a little is not. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "daemon/token/fake/fake-attestation.h"
#include "daemon/token/piv/piv.h"
#include "tests/support/support.h"
#include <string.h>

#define SERIAL "1234567"
#define SERIAL_NUMBER 1234567

static const guint8 policies[] = {2, 3};

static void free_certificate(void *certificate)
{
    X509_free(certificate);
}

static X509_STORE *store_with(X509 *root)
{
    X509_STORE *store = X509_STORE_new();
    if (root)
        g_assert_cmpint(X509_STORE_add_cert(store, root), ==, 1);
    return store;
}

/* Takes both. */
static GPtrArray *chain_of(X509 *key, X509 *token)
{
    GPtrArray *chain = g_ptr_array_new_with_free_func(free_certificate);
    g_ptr_array_add(chain, key);
    g_ptr_array_add(chain, token);
    return chain;
}

static void expect_not_verified(GPtrArray *chain, EVP_PKEY *key, const char *serial, X509 *root,
                                const char *reason)
{
    g_autoptr(X509_STORE) roots = store_with(root);
    g_autoptr(GError) error = NULL;
    g_assert_false(attestation_verify(chain, key, serial, roots, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE);
    if (!strstr(error->message, reason))
        g_error("\"%s\" does not say \"%s\"", error->message, reason);
}

static void a_token_that_a_given_root_vouches_for_is_believed(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    g_autoptr(FakeAttester) stranger = fake_attester_new();
    EVP_PKEY *key = test_key("p384");
    g_autoptr(GPtrArray) chain = fake_attester_attest(attester, key, SERIAL_NUMBER, policies);
    g_autoptr(X509_STORE) roots = store_with(attester->root);
    X509_STORE_add_cert(roots, stranger->root);
    g_autoptr(GError) error = NULL;
    attestation_verify(chain, key, SERIAL, roots, &error);
    g_assert_no_error(error);

    g_autoptr(Attestation) claims = attestation_read(chain->pdata[0], &error);
    g_assert_no_error(error);
    g_assert_cmpstr(claims->firmware, ==, "5.7.1");
    g_assert_cmpuint(claims->serial, ==, SERIAL_NUMBER);
    g_assert_cmpstr(claims->pin_policy, ==, "once");
    g_assert_cmpstr(claims->touch_policy, ==, "cached");
    g_assert_cmpstr(claims->form_factor, ==, "USB-C keychain");
    g_assert_false(claims->fips);
}

static void an_intermediate_that_was_given_is_enough(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    g_autoptr(EVP_PKEY) device_key = test_new_key("p256");
    EVP_PKEY *key = test_key("p256");
    static const guint8 number[] = {2, 3, 0x12, 0xd6, 0x87};
    const FakeClaim claims[] = {{7, number, sizeof number}, {8, policies, 2}, {0, NULL, 0}};
    X509 *device = fake_attestation_certificate("Device", device_key, attester->certificate, attester->key,
                                                "critical,CA:TRUE,pathlen:0", NULL);
    g_autoptr(GPtrArray) chain =
        chain_of(fake_attestation_certificate("Key", key, device, device_key, NULL, claims), device);
    g_autoptr(X509_STORE) roots = store_with(attester->certificate);
    g_autoptr(GError) error = NULL;
    attestation_verify(chain, key, SERIAL, roots, &error);
    g_assert_no_error(error);
}

static void nobody_else_is_believed(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    g_autoptr(FakeAttester) stranger = fake_attester_new();
    EVP_PKEY *key = test_key("p256");
    g_autoptr(GPtrArray) chain = fake_attester_attest(attester, key, SERIAL_NUMBER, policies);
    expect_not_verified(chain, key, SERIAL, NULL, "roots that were given");
    expect_not_verified(chain, key, SERIAL, stranger->root, "roots that were given");
    expect_not_verified(chain, test_key("p384"), SERIAL, attester->root, "another key");
    expect_not_verified(chain, key, "7654321", attester->root, "another token");

    g_autoptr(GPtrArray) other = fake_attester_attest(stranger, key, SERIAL_NUMBER, policies);
    X509_up_ref(other->pdata[0]);
    X509_up_ref(attester->certificate);
    g_autoptr(GPtrArray) mixed = chain_of(other->pdata[0], attester->certificate);
    expect_not_verified(mixed, key, SERIAL, attester->root, "not signed by this token");

    X509_up_ref(chain->pdata[0]);
    g_autoptr(GPtrArray) short_chain = g_ptr_array_new_with_free_func(free_certificate);
    g_ptr_array_add(short_chain, chain->pdata[0]);
    expect_not_verified(short_chain, key, SERIAL, attester->root, "both certificates");
}

/* The owner of a token has a genuine attestation of his own key, which signs what he likes. */
static void an_attested_key_cannot_attest_others(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    g_autoptr(EVP_PKEY) own = test_new_key("p256");
    EVP_PKEY *software = test_key("p256");
    static const guint8 number[] = {2, 3, 0x12, 0xd6, 0x87};
    const FakeClaim claims[] = {{7, number, sizeof number}, {8, policies, 2}, {0, NULL, 0}};
    g_autoptr(GPtrArray) genuine = fake_attester_attest(attester, own, SERIAL_NUMBER, policies);
    X509 *forged = fake_attestation_certificate("Forged", software, genuine->pdata[0], own, NULL, claims);
    X509_up_ref(genuine->pdata[0]);
    g_autoptr(GPtrArray) chain = chain_of(forged, genuine->pdata[0]);
    /* Even where the token's own certificate was given as a root. */
    expect_not_verified(chain, software, SERIAL, attester->certificate, "attestation key");
    expect_not_verified(chain, software, SERIAL, attester->root, "attestation key");
}

static void a_certificate_that_may_sign_nothing_is_no_attestation_key(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    EVP_PKEY *key = test_key("p256");
    static const char *const basics[] = {"critical,CA:FALSE", NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(basics); i++) {
        X509 *device = fake_attestation_certificate("Device", attester->key, attester->root,
                                                    attester->root_key, basics[i], NULL);
        g_autoptr(GPtrArray) chain =
            chain_of(fake_attestation_certificate("Key", key, device, attester->key, NULL, NULL), device);
        g_autoptr(X509_STORE) roots = store_with(attester->root);
        g_autoptr(GError) error = NULL;
        /* Early tokens do not say: that is fine. One that says no is taken at its word. */
        g_assert_cmpint(attestation_verify(chain, key, SERIAL, roots, &error), ==, basics[i] == NULL);
    }
}

static void malformed_claims_are_refused(void)
{
    g_autoptr(FakeAttester) attester = fake_attester_new();
    static const guint8 zeroes[300] = {0};
    static const guint8 negative[] = {2, 1, 0xff};
    static const guint8 zero[] = {2, 1, 0};
    static const guint8 trailing[] = {2, 1, 5, 0};
    static const guint8 long_number[] = {2, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    static const FakeClaim wrong[] = {
        {3, zeroes, 2}, {3, zeroes, 4},   {3, zeroes, 0}, {7, zeroes, 0},       {7, negative, 3},
        {7, zero, 3},   {7, trailing, 4}, {7, zeroes, 1}, {7, long_number, 11}, {8, zeroes, 1},
        {8, zeroes, 3}, {8, zeroes, 300}, {9, zeroes, 0}, {9, zeroes, 2},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        const FakeClaim claims[] = {wrong[i], {0, NULL, 0}};
        g_autoptr(GError) error = NULL;
        g_autoptr(X509) certificate = fake_attestation_certificate(
            "Key", test_key("p256"), attester->certificate, attester->key, NULL, claims);
        g_assert_null(attestation_read(certificate, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE);
    }
    const FakeClaim twice[] = {{8, policies, 2}, {8, policies, 2}, {0, NULL, 0}};
    g_autoptr(X509) certificate = fake_attestation_certificate("Key", test_key("p256"), attester->certificate,
                                                               attester->key, NULL, twice);
    g_autoptr(GError) error = NULL;
    g_assert_null(attestation_read(certificate, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE);
}

/* By the same names as in the slot. */
static void the_policies_of_a_bio_are_named(void)
{
    static const guint8 of_a_bio[] = {PIV_PIN_MATCH_ALWAYS, PIV_TOUCH_NEVER};
    g_autoptr(FakeAttester) attester = fake_attester_new();
    const FakeClaim claims[] = {{8, of_a_bio, 2}, {0, NULL, 0}};
    g_autoptr(X509) certificate = fake_attestation_certificate("Key", test_key("p256"), attester->certificate,
                                                               attester->key, NULL, claims);
    g_autoptr(Attestation) read = attestation_read(certificate, NULL);
    g_assert_cmpstr(read->pin_policy, ==, "match-always");
    g_assert_cmpstr(read->touch_policy, ==, "never");
}

static void unknown_values_are_not_named(void)
{
    static const guint8 new_policies[] = {6, 9};
    static const guint8 form = 0x80 | 0x1f;
    g_autoptr(FakeAttester) attester = fake_attester_new();
    const FakeClaim claims[] = {{8, new_policies, 2}, {9, &form, 1}, {0, NULL, 0}};
    g_autoptr(X509) certificate = fake_attestation_certificate("Key", test_key("p256"), attester->certificate,
                                                               attester->key, NULL, claims);
    g_autoptr(GError) error = NULL;
    g_autoptr(Attestation) read = attestation_read(certificate, &error);
    g_assert_no_error(error);
    g_assert_null(read->pin_policy);
    g_assert_null(read->touch_policy);
    g_assert_null(read->form_factor);
    g_assert_null(read->firmware);
    g_assert_cmpuint(read->serial, ==, 0);
    g_assert_true(read->fips);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/attestation/believed", a_token_that_a_given_root_vouches_for_is_believed);
    g_test_add_func("/attestation/intermediate", an_intermediate_that_was_given_is_enough);
    g_test_add_func("/attestation/others", nobody_else_is_believed);
    g_test_add_func("/attestation/attested-key", an_attested_key_cannot_attest_others);
    g_test_add_func("/attestation/not-a-ca", a_certificate_that_may_sign_nothing_is_no_attestation_key);
    g_test_add_func("/attestation/malformed", malformed_claims_are_refused);
    g_test_add_func("/attestation/unknown", unknown_values_are_not_named);
    g_test_add_func("/attestation/bio", the_policies_of_a_bio_are_named);
    return g_test_run();
}
