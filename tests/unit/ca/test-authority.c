/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Authorities come and go with slots, and each kind of request is signed with a key that never leaves its
 * token. */

#include "daemon/ca/name.h"
#include "daemon/ca/provision.h"
#include "daemon/json.h"
#include "tests/unit/ca/authority-bench.h"
#include <string.h>

static void test_it_lives_from_its_first_slot_to_its_last(void)
{
    g_autoptr(Bench) bench = bench_new(TWO_TOKENS);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) ca = test_ca("One", key);
    g_autofree char *thumbprint = certificate_thumbprint(ca);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    assert_seen(bench, 1, 0, 0);
    authority_set_update(bench->set, first, true);
    assert_seen(bench, 1, 0, 0);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    assert_seen(bench, 1, 0, 1);

    g_autoptr(Authority) authority = authority_ref(authority_set_find(bench->set, thumbprint));
    g_autofree char *serial = certificate_serial(ca);
    g_assert_cmpstr(authority_thumbprint(authority), ==, thumbprint);
    g_assert_cmpstr(authority_serial(authority), ==, serial);
    g_assert_cmpuint(authority_slots(authority)->len, ==, 2);
    g_assert_true(authority_set_of_slot(bench->set, second) == authority);
    g_assert_cmpuint(authority_set_all(bench->set)->len, ==, 1);

    authority_set_update(bench->set, first, false);
    assert_seen(bench, 1, 0, 2);
    authority_set_update(bench->set, second, false);
    assert_seen(bench, 1, 1, 2);
    authority_set_update(bench->set, second, false);
    assert_seen(bench, 1, 1, 2);
    g_assert_null(authority_set_find(bench->set, thumbprint));
    g_assert_null(authority_set_of_slot(bench->set, second));
    g_assert_cmpuint(authority_set_all(bench->set)->len, ==, 0);
    /* What became of it is nobody's news any more. */
    authority_count_signature(authority);
    assert_seen(bench, 1, 1, 2);
}

static void test_what_makes_no_authority(void)
{
    static const char *const leaf_extensions[] = {"basicConstraints", "CA:FALSE", NULL};
    static const char *const ca_extensions[] = {"basicConstraints", "CA:TRUE", NULL};
    const TestCertificate leaf = {.subject = "CN=Leaf", .extensions = leaf_extensions};
    const TestCertificate temporary = {.subject = "C=US, CN=" SLOT_TEMPORARY_SUBJECT,
                                       .extensions = ca_extensions};
    const TestCertificate plain = {.subject = "CN=Plain"};
    const TestCertificate *const none[] = {&leaf, &temporary, &plain};
    g_autoptr(Bench) bench = bench_new(ONE_TOKEN);
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(Slot) slot = import_key(bench, "F1", key);
    authority_set_update(bench->set, slot, true);
    for (gsize i = 0; i < G_N_ELEMENTS(none); i++) {
        g_autoptr(X509) certificate = test_certificate(none[i], key, NULL, NULL);
        write_certificate(slot, certificate);
        authority_set_update(bench->set, slot, true);
        assert_seen(bench, 0, 0, 0);
    }
    g_autoptr(X509) ca = test_ca("CA", key);
    write_certificate(slot, ca);
    authority_set_update(bench->set, slot, true);
    assert_seen(bench, 1, 0, 0);
}

static void test_a_new_certificate_is_a_new_authority(void)
{
    g_autoptr(Bench) bench = bench_new(ONE_TOKEN);
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) old = test_ca("Old", key);
    g_autoptr(X509) new = test_ca("New", key);
    g_autoptr(Slot) slot = slot_of(bench, "F1", key, old);
    write_certificate(slot, new);
    authority_set_update(bench->set, slot, true);
    assert_seen(bench, 2, 1, 0);
    g_autofree char *subject = certificate_subject(new);
    g_assert_cmpstr(authority_subject(authority_set_of_slot(bench->set, slot)), ==, subject);
}

static void test_all_are_ordered(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1,slots=8");
    g_autoptr(GPtrArray) slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    for (int i = 0; i < 5; i++) {
        g_autoptr(EVP_PKEY) key = test_new_key("p256");
        g_autoptr(X509) ca = test_ca("CA", key);
        g_ptr_array_add(slots, slot_of(bench, "F1", key, ca));
    }
    GPtrArray *all = authority_set_all(bench->set);
    g_assert_cmpuint(all->len, ==, 5);
    for (guint i = 1; i < all->len; i++)
        g_assert_cmpstr(authority_thumbprint(all->pdata[i - 1]), <, authority_thumbprint(all->pdata[i]));
}

static void test_link_and_counters(void)
{
    g_autoptr(Bench) bench = bench_new(ONE_TOKEN);
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) slot = slot_of(bench, "F1", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, slot);
    g_assert_cmpstr(authority_link_to_string(authority_link(authority)), ==, "not-connected");
    g_assert_cmpstr(authority_link_message(authority), ==, "");

    authority_set_link(authority, AUTHORITY_UNREGISTERED, "who are you", 5);
    authority_set_link(authority, AUTHORITY_UNREGISTERED, "who are you", 5);
    assert_seen(bench, 1, 0, 1);
    g_assert_cmpstr(authority_link_to_string(authority_link(authority)), ==, "unregistered");
    g_assert_cmpstr(authority_link_message(authority), ==, "who are you");
    g_assert_cmpint(authority_next_attempt(authority), ==, 5);
    authority_set_link(authority, AUTHORITY_CONNECTED, NULL, 0);
    assert_seen(bench, 1, 0, 2);

    g_assert_cmpint(authority_last_signature(authority), ==, 0);
    authority_count_signature(authority);
    authority_count_denied(authority);
    assert_seen(bench, 1, 0, 4);
    g_assert_cmpuint(authority_signatures(authority), ==, 1);
    g_assert_cmpuint(authority_denied(authority), ==, 1);
    g_assert_cmpint(authority_last_signature(authority), >, 0);
}

/* --- what the link does: any kind of request, with a key that never leaves the token ----------------- */

static bool sign_request(EVP_PKEY *key, void *signing, GError **error)
{
    return signing_sign(signing, key, error);
}

static void sign_on_token(Authority *authority, const char *signtype, const char *json, char **ret_text)
{
    const SigningRules rules = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_parse(json, strlen(json), &error);
    g_autoptr(Signing) signing =
        signing_new(signtype, request, authority_certificate(authority), &rules, NOW, NULL, &error);
    g_assert_no_error(error);
    g_auto(Ending) ending = {0};
    const AuthorityWork work = work_of(sign_request, signing, ending_done, &ending);
    authority_use_key(authority, &work, &error);
    g_assert_no_error(error);
    ending_ok(&ending);
    *ret_text = g_strdup(signing_text(signing));
}

static void test_every_kind_of_request_on_a_token(void)
{
    static const char *const keys[] = {"rsa2048", "p256", "p384", "ed25519"};
    g_autoptr(Bench) bench = bench_new(ONE_TOKEN);
    g_autoptr(EVP_PKEY) request_key = test_key("p256");
    g_autofree char *request_pem = test_request_pem("CN=leaf", request_key);
    g_autofree char *csr = csr_request(request_pem, "{}");
    g_autofree char *crl = crl_request("", "1");
    g_autofree char *cms = cms_request("hello", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(EVP_PKEY) key = test_key(keys[i]);
        g_autoptr(TestAuthority) judge = test_authority_of(test_ca(keys[i], key), key);
        g_autoptr(Slot) slot = slot_of(bench, "F1", key, judge->certificate);
        Authority *authority = authority_set_of_slot(bench->set, slot);
        g_autofree char *certificate = NULL, *list = NULL, *message = NULL;
        sign_on_token(authority, "csr", csr, &certificate);
        assert_chains(judge, certificate);
        sign_on_token(authority, "crl", crl, &list);
        g_autofree char *verified = test_run(
            (const char *const[]){"openssl", "crl", "-noout", "-CAfile", judge->certificate_path, NULL}, list,
            0);
        assert_contains(verified, "verify OK");
        if (g_str_equal(keys[i], "ed25519"))
            continue;
        sign_on_token(authority, "cms", cms, &message);
        g_autofree char *output = test_run(
            (const char *const[]){"openssl", "cms", "-verify", "-binary", "-no_check_time", "-inform", "PEM",
                                  "-CAfile", judge->certificate_path, "-purpose", "any", NULL},
            message, 0);
        assert_contains(output, "hello");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/authority/lives-from-its-first-slot-to-its-last",
                    test_it_lives_from_its_first_slot_to_its_last);
    g_test_add_func("/authority/what-makes-none", test_what_makes_no_authority);
    g_test_add_func("/authority/a-new-certificate-is-a-new-one", test_a_new_certificate_is_a_new_authority);
    g_test_add_func("/authority/all-are-ordered", test_all_are_ordered);
    g_test_add_func("/authority/link-and-counters", test_link_and_counters);
    g_test_add_func("/authority/every-kind-of-request-on-a-token", test_every_kind_of_request_on_a_token);
    return g_test_run();
}
