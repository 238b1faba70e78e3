/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Authorities come and go with slots, and their slots share the work. */

#include "daemon/ca/authority.h"
#include "daemon/ca/name.h"
#include "daemon/ca/provision.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake.h"
#include "tests/unit/ca/signing-fixture.h"
#include "tests/unit/token/fixture.h"
#include <string.h>

typedef struct Seen {
    guint added, removed, changed;
} Seen;

typedef struct Bench {
    Fixture *tokens;
    AuthoritySet *set;
    Seen seen;
} Bench;

static void on_added(Authority *authority, void *seen)
{
    ((Seen *)seen)->added++;
    g_assert_cmpuint(authority_slots(authority)->len, ==, 1);
}

static void on_removed(Authority *authority, void *seen)
{
    ((Seen *)seen)->removed++;
    g_assert_cmpuint(authority_slots(authority)->len, ==, 0);
}

static void on_changed(Authority *authority, void *seen)
{
    ((Seen *)seen)->changed++;
}

static Bench *bench_new(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Bench *bench = g_new0(Bench, 1);
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    bench->tokens = fixture_new(source, false);
    const AuthorityEvents events = {on_added, on_removed, on_changed, &bench->seen};
    bench->set = authority_set_new(&events);
    return bench;
}

static void bench_free(Bench *bench)
{
    authority_set_free(bench->set);
    fixture_free(bench->tokens);
    g_free(bench);
    wait_for_token_threads();
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bench, bench_free)

/* A new slot on |serial| with |key| in it. */
static Slot *import_key(Bench *bench, const char *serial, EVP_PKEY *key)
{
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autoptr(Secret) secret = secret_of(pem);
    Token *token = fixture_token(bench->tokens, serial);
    g_auto(Ending) ending = {0};
    token_import_key(token, "", secret, NULL, NULL, NULL, ending_text, &ending);
    ending_ok(&ending);
    return slot_ref(token_find_slot(token, ending.text));
}

static void write_certificate(Slot *slot, X509 *certificate)
{
    g_auto(Ending) ending = {0};
    slot_write_certificate(slot, certificate, NULL, ending_done, &ending);
    ending_ok(&ending);
}

static Slot *slot_of(Bench *bench, const char *serial, EVP_PKEY *key, X509 *certificate)
{
    Slot *slot = import_key(bench, serial, key);
    write_certificate(slot, certificate);
    authority_set_update(bench->set, slot, true);
    return slot;
}

static void assert_seen(const Bench *bench, guint added, guint removed, guint changed)
{
    g_assert_cmpuint(bench->seen.added, ==, added);
    g_assert_cmpuint(bench->seen.removed, ==, removed);
    g_assert_cmpuint(bench->seen.changed, ==, changed);
}

static void test_it_lives_from_its_first_slot_to_its_last(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
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
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
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
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
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
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
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

/* --- whose turn it is -------------------------------------------------------------------------------- */

static void signed_unref(void *data)
{
    Signed *made = data;
    if (g_atomic_int_dec_and_test(&made->references))
        g_free(made);
}

typedef struct Use {
    Ending ending;
    Signed *made;
} Use;

static void use_clear(Use *use)
{
    ending_clear(&use->ending);
    g_clear_pointer(&use->made, signed_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Use, use_clear)

static bool start_use(Authority *authority, Use *use, GError **error)
{
    use->made = g_new0(Signed, 1);
    use->made->references = 2;
    const AuthorityWork work = {
        .run = sign_message,
        .data = use->made,
        .free_data = signed_unref,
        .begin_by = WORKER_NO_DEADLINE,
        .end_by = WORKER_NO_DEADLINE,
        .done = ending_done,
        .userdata = &use->ending,
    };
    return authority_use_key(authority, &work, error);
}

static void finish_use(Use *use, EVP_PKEY *key)
{
    ending_ok(&use->ending);
    g_assert_true(verifies(key, use->made));
}

static bool both_held(void *source)
{
    return fake_source_held(source, "F1") == 1 && fake_source_held(source, "F2") == 1;
}

static void test_work_goes_where_the_queue_is_shortest(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, first);
    Use uses[4] = {0};
    fake_source_hold(bench->tokens->source, "F1", true);
    fake_source_hold(bench->tokens->source, "F2", true);
    for (int i = 0; i < 4; i++)
        g_assert_true(start_use(authority, &uses[i], NULL));
    g_assert_cmpuint(token_load(slot_token(first)), ==, 2);
    g_assert_cmpuint(token_load(slot_token(second)), ==, 2);
    test_poll_for(both_held, bench->tokens->source, 60);
    fake_source_hold(bench->tokens->source, "F1", false);
    fake_source_hold(bench->tokens->source, "F2", false);
    for (int i = 0; i < 4; i++)
        finish_use(&uses[i], key);
    for (int i = 0; i < 4; i++)
        use_clear(&uses[i]);
    g_assert_cmpuint(slot_signatures(first), ==, 2);
    g_assert_cmpuint(slot_signatures(second), ==, 2);
}

static void test_work_goes_to_the_token_that_is_left(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    g_autoptr(Authority) authority = authority_ref(authority_set_of_slot(bench->set, first));
    fake_source_unplug(bench->tokens->source, "F1");
    g_auto(Use) use = {0};
    g_assert_true(start_use(authority, &use, NULL));
    finish_use(&use, key);
    g_assert_cmpuint(slot_signatures(second), ==, 1);

    /* The manager has not told the set yet. */
    fake_source_unplug(bench->tokens->source, "F2");
    g_autoptr(GError) busy = NULL;
    g_auto(Use) failed = {0};
    g_assert_false(start_use(authority, &failed, &busy));
    g_assert_nonnull(busy);
    g_assert_false(failed.ending.done);
    authority_set_update(bench->set, first, false);
    authority_set_update(bench->set, second, false);
    g_autoptr(GError) gone = NULL;
    g_auto(Use) again = {0};
    g_assert_false(start_use(authority, &again, &gone));
    g_assert_error(gone, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
}

/* What waits in the queue of a token that is pulled out is done by the other one. What ran there may have
 * failed. */
static void test_waiting_work_moves_to_the_token_that_is_left(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    g_autoptr(Authority) authority = authority_ref(authority_set_of_slot(bench->set, first));
    Use uses[8] = {0};
    guint failed = 0;
    fake_source_hold(bench->tokens->source, "F1", true);
    fake_source_hold(bench->tokens->source, "F2", true);
    for (int i = 0; i < 8; i++)
        g_assert_true(start_use(authority, &uses[i], NULL));
    test_poll_for(both_held, bench->tokens->source, 60);
    fake_source_unplug(bench->tokens->source, "F1");
    fake_source_hold(bench->tokens->source, "F2", false);
    for (int i = 0; i < 8; i++) {
        while (!uses[i].ending.done)
            g_main_context_iteration(NULL, TRUE);
        if (uses[i].ending.error) {
            g_assert_error(uses[i].ending.error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
            failed++;
        } else {
            g_assert_true(verifies(key, uses[i].made));
        }
    }
    for (int i = 0; i < 8; i++)
        use_clear(&uses[i]);
    g_assert_cmpuint(failed, <=, 1);
    g_assert_cmpuint(slot_signatures(second), ==, 8 - failed);
}

static void test_a_token_without_its_pin_comes_last(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1,pin=123456;fake:serial=F2");
    set_pin(fixture_token(bench->tokens, "F1"), "123456");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) locked = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) open = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, locked);
    g_auto(Ending) forgotten = {0};
    token_forget_pin(slot_token(locked), NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    for (int i = 0; i < 3; i++) {
        g_auto(Use) use = {0};
        g_assert_true(start_use(authority, &use, NULL));
        finish_use(&use, key);
    }
    g_assert_cmpuint(slot_signatures(open), ==, 3);
}

/* Many things for one authority, then one for another, on one token: the one is not the last. */
static void test_authorities_take_turns(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
    g_autoptr(EVP_PKEY) busy_key = test_new_key("p256");
    g_autoptr(EVP_PKEY) modest_key = test_new_key("p256");
    g_autoptr(X509) busy_ca = test_ca("Busy", busy_key);
    g_autoptr(X509) modest_ca = test_ca("Modest", modest_key);
    g_autoptr(Slot) busy_slot = slot_of(bench, "F1", busy_key, busy_ca);
    g_autoptr(Slot) modest_slot = slot_of(bench, "F1", modest_key, modest_ca);
    Authority *busy = authority_set_of_slot(bench->set, busy_slot);
    Authority *modest = authority_set_of_slot(bench->set, modest_slot);
    Use many[40] = {0};
    g_auto(Use) one = {0};
    fake_source_hold(bench->tokens->source, "F1", true);
    for (gsize i = 0; i < G_N_ELEMENTS(many); i++)
        g_assert_true(start_use(busy, &many[i], NULL));
    g_assert_true(start_use(modest, &one, NULL));
    g_assert_cmpuint(token_load(slot_token(busy_slot)), ==, 2);
    g_assert_cmpuint(authority_waiting(busy), ==, 38);
    fake_source_hold(bench->tokens->source, "F1", false);
    finish_use(&one, modest_key);
    g_assert_cmpuint(slot_signatures(busy_slot), <=, 4);
    for (gsize i = 0; i < G_N_ELEMENTS(many); i++) {
        finish_use(&many[i], busy_key);
        use_clear(&many[i]);
    }
    g_assert_cmpuint(authority_waiting(busy), ==, 0);
}

typedef struct Order {
    gint *next;
    gint mine;
    bool done;
} Order;

static bool take_number(EVP_PKEY *key, void *data, GError **error)
{
    Order *order = data;
    order->mine = g_atomic_int_add(order->next, 1);
    return true;
}

static void on_numbered(const GError *error, void *userdata)
{
    g_assert_no_error(error);
    ((Order *)userdata)->done = true;
}

static void test_work_begins_in_order_and_what_is_first_before_it(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) slot = slot_of(bench, "F1", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, slot);
    gint next = 0;
    Order orders[20] = {0};
    for (int i = 0; i < 20; i++) {
        orders[i].next = &next;
        const AuthorityWork work = {.run = take_number,
                                    .data = &orders[i],
                                    .begin_by = WORKER_NO_DEADLINE,
                                    .end_by = WORKER_NO_DEADLINE,
                                    .first = i == 19,
                                    .done = on_numbered,
                                    .userdata = &orders[i]};
        g_assert_true(authority_use_key(authority, &work, NULL));
    }
    for (int i = 0; i < 20; i++)
        test_wait(&orders[i].done, 30);
    for (int i = 0; i < 19; i++)
        g_assert_cmpint(orders[i].mine, ==, i < 2 ? i : i + 1);
    g_assert_cmpint(orders[19].mine, ==, 2);
}

/* The main loop was away when the signature was made and the token's patience ended. */
static void test_work_that_was_done_is_not_done_again(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) slot = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) other = slot_of(bench, "F2", key, ca);
    gint next = 0;
    Order order = {.next = &next};
    const AuthorityWork work = {.run = take_number,
                                .data = &order,
                                .begin_by = WORKER_NO_DEADLINE,
                                .end_by = WORKER_NO_DEADLINE,
                                .done = on_numbered,
                                .userdata = &order};
    gint64 patience_over = g_get_monotonic_time() + G_USEC_PER_SEC + 50000;
    g_assert_true(authority_use_key(authority_set_of_slot(bench->set, slot), &work, NULL));
    while (g_atomic_int_get(&next) == 0 || g_get_monotonic_time() < patience_over)
        g_usleep(1000);
    test_wait(&order.done, 30);
    g_assert_cmpint(g_atomic_int_get(&next), ==, 1);
}

static void test_work_that_has_not_begun_in_time_is_not_done(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) slot = slot_of(bench, "F1", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, slot);
    Use uses[4] = {0};
    fake_source_hold(bench->tokens->source, "F1", true);
    for (int i = 0; i < 4; i++) {
        uses[i].made = g_new0(Signed, 1);
        uses[i].made->references = 2;
        const AuthorityWork work = {.run = sign_message,
                                    .data = uses[i].made,
                                    .free_data = signed_unref,
                                    .begin_by = i == 0 ? WORKER_NO_DEADLINE : g_get_monotonic_time() + 20000,
                                    .end_by = WORKER_NO_DEADLINE,
                                    .done = ending_done,
                                    .userdata = &uses[i].ending};
        g_assert_true(authority_use_key(authority, &work, NULL));
    }
    for (int i = 1; i < 4; i++)
        ending_fails(&uses[i].ending, IOTHSM_ERROR_CANCELLED);
    fake_source_hold(bench->tokens->source, "F1", false);
    finish_use(&uses[0], key);
    for (int i = 0; i < 4; i++)
        use_clear(&uses[i]);
    g_assert_cmpuint(slot_signatures(slot), ==, 1);
}

/* A token that does not come back from one signature keeps the next one waiting for a moment only. */
static void test_a_stuck_token_loses_what_it_has_not_begun(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) stuck = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) good = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, stuck);
    Use uses[6] = {0};
    fake_source_hold(bench->tokens->source, "F1", true);
    fake_source_hold(bench->tokens->source, "F2", true);
    for (int i = 0; i < 6; i++)
        g_assert_true(start_use(authority, &uses[i], NULL));
    test_poll_for(both_held, bench->tokens->source, 60);
    fake_source_hold(bench->tokens->source, "F2", false);
    guint done = 0;
    while (done < 5) {
        g_main_context_iteration(NULL, TRUE);
        done = 0;
        for (int i = 0; i < 6; i++)
            done += uses[i].ending.done;
    }
    g_assert_cmpuint(slot_signatures(good), ==, 5);
    fake_source_hold(bench->tokens->source, "F1", false);
    for (int i = 0; i < 6; i++) {
        finish_use(&uses[i], key);
        use_clear(&uses[i]);
    }
}

static void test_a_slot_that_failed_is_not_asked_again_at_once(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, first);
    g_autoptr(GPtrArray) tried = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    Signed made = {0};
    fake_source_fail_next(bench->tokens->source, "F1", 1, IOTHSM_ERROR_FAILED);
    fake_source_fail_next(bench->tokens->source, "F2", 1, IOTHSM_ERROR_FAILED);
    AuthorityWork work = {.run = sign_message,
                          .data = &made,
                          .begin_by = WORKER_NO_DEADLINE,
                          .end_by = WORKER_NO_DEADLINE,
                          .tried = tried,
                          .done = ending_done};
    for (guint i = 0; i < 2; i++) {
        g_auto(Ending) ending = {0};
        work.userdata = &ending;
        g_assert_true(authority_use_key(authority, &work, NULL));
        ending_fails(&ending, IOTHSM_ERROR_FAILED);
        g_assert_cmpuint(tried->len, ==, i + 1);
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(authority_use_key(authority, &work, &error));
    g_assert_nonnull(error);
    g_assert_true(slot_has_just_failed(first));

    /* Both have just failed, so one of them does it; then that one is the better one. */
    Use uses[5] = {0};
    for (int i = 0; i < 5; i++) {
        g_assert_true(start_use(authority, &uses[i], NULL));
        finish_use(&uses[i], key);
        use_clear(&uses[i]);
    }
    g_assert_cmpuint(MAX(slot_signatures(first), slot_signatures(second)), ==, 5);
}

/* A token that is drained finishes its work, and the other one goes on. */
static void test_a_drained_token_gets_no_work(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, first);
    Token *token = slot_token(first);
    g_auto(Use) running = {0};
    g_auto(Ending) drained = {0};
    g_auto(Ending) cancelled = {0};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    fake_source_hold(bench->tokens->source, "F1", true);
    fake_source_hold(bench->tokens->source, "F2", true);
    g_auto(Use) other = {0};
    g_assert_true(start_use(authority, &running, NULL));
    g_assert_true(start_use(authority, &other, NULL));
    test_poll_for(both_held, bench->tokens->source, 60);

    token_set_draining(token, true);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_DRAINING);
    token_wait_drained(token, NULL, ending_done, &drained);
    token_wait_drained(token, cancellable, ending_done, &cancelled);
    Use more[4] = {0};
    for (int i = 0; i < 4; i++)
        g_assert_true(start_use(authority, &more[i], NULL));
    g_cancellable_cancel(cancellable);
    ending_fails(&cancelled, IOTHSM_ERROR_CANCELLED);
    g_assert_false(drained.done);
    fake_source_hold(bench->tokens->source, "F1", false);
    ending_ok(&drained);
    fake_source_hold(bench->tokens->source, "F2", false);
    finish_use(&running, key);
    finish_use(&other, key);
    for (int i = 0; i < 4; i++) {
        finish_use(&more[i], key);
        use_clear(&more[i]);
    }
    g_assert_cmpuint(slot_signatures(first), ==, 1);
    g_assert_cmpuint(slot_signatures(second), ==, 5);

    /* What was offered before is still done. With both drained there is nobody, until one works again. */
    g_auto(Ending) both = {0};
    g_auto(Use) late = {0};
    token_set_draining(slot_token(second), true);
    g_assert_false(authority_is_served(authority));
    g_assert_true(start_use(authority, &late, NULL));
    finish_use(&late, key);
    g_assert_cmpuint(slot_signatures(second), ==, 6);
    token_wait_drained(slot_token(second), NULL, ending_done, &both);
    ending_ok(&both);
    g_autoptr(GError) error = NULL;
    g_auto(Use) refused = {0};
    g_assert_false(start_use(authority, &refused, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY);
    token_set_draining(token, false);
    g_assert_true(authority_is_served(authority));
    g_auto(Use) again = {0};
    g_assert_true(start_use(authority, &again, NULL));
    finish_use(&again, key);
    g_assert_cmpuint(slot_signatures(first), ==, 2);
}

static void test_who_waits_for_a_drained_token_is_told_what_became_of_it(void)
{
    g_autoptr(Bench) bench = bench_new("fake:serial=F1;fake:serial=F2");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", key);
    g_autoptr(Slot) first = slot_of(bench, "F1", key, ca);
    g_autoptr(Slot) second = slot_of(bench, "F2", key, ca);
    Authority *authority = authority_set_of_slot(bench->set, first);
    Use uses[2] = {0};
    g_auto(Ending) undone = {0};
    g_auto(Ending) gone = {0};
    fake_source_hold(bench->tokens->source, "F1", true);
    fake_source_hold(bench->tokens->source, "F2", true);
    for (int i = 0; i < 2; i++)
        g_assert_true(start_use(authority, &uses[i], NULL));
    token_set_draining(slot_token(first), true);
    token_set_draining(slot_token(second), true);
    token_wait_drained(slot_token(first), NULL, ending_done, &undone);
    token_wait_drained(slot_token(second), NULL, ending_done, &gone);
    token_set_draining(slot_token(first), false);
    ending_fails(&undone, IOTHSM_ERROR_CANCELLED);
    fake_source_unplug(bench->tokens->source, "F2");
    ending_fails(&gone, IOTHSM_ERROR_TOKEN_GONE);
    fake_source_hold(bench->tokens->source, "F1", false);
    for (int i = 0; i < 2; i++) {
        while (!uses[i].ending.done)
            g_main_context_iteration(NULL, TRUE);
        use_clear(&uses[i]);
    }
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
    const AuthorityWork work = {
        .run = sign_request,
        .data = signing,
        .begin_by = WORKER_NO_DEADLINE,
        .end_by = WORKER_NO_DEADLINE,
        .done = ending_done,
        .userdata = &ending,
    };
    authority_use_key(authority, &work, &error);
    g_assert_no_error(error);
    ending_ok(&ending);
    *ret_text = g_strdup(signing_text(signing));
}

static void test_every_kind_of_request_on_a_token(void)
{
    static const char *const keys[] = {"rsa2048", "p256", "p384", "ed25519"};
    g_autoptr(Bench) bench = bench_new("fake:serial=F1");
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
    g_test_add_func("/authority/work-goes-where-the-queue-is-shortest",
                    test_work_goes_where_the_queue_is_shortest);
    g_test_add_func("/authority/work-goes-to-the-token-that-is-left",
                    test_work_goes_to_the_token_that_is_left);
    g_test_add_func("/authority/waiting-work-moves-to-the-token-that-is-left",
                    test_waiting_work_moves_to_the_token_that_is_left);
    g_test_add_func("/authority/a-token-without-its-pin-comes-last", test_a_token_without_its_pin_comes_last);
    g_test_add_func("/authority/authorities-take-turns", test_authorities_take_turns);
    g_test_add_func("/authority/work-begins-in-order-and-what-is-first-before-it",
                    test_work_begins_in_order_and_what_is_first_before_it);
    g_test_add_func("/authority/work-that-was-done-is-not-done-again",
                    test_work_that_was_done_is_not_done_again);
    g_test_add_func("/authority/work-that-has-not-begun-in-time-is-not-done",
                    test_work_that_has_not_begun_in_time_is_not_done);
    g_test_add_func("/authority/a-stuck-token-loses-what-it-has-not-begun",
                    test_a_stuck_token_loses_what_it_has_not_begun);
    g_test_add_func("/authority/a-slot-that-failed-is-not-asked-again-at-once",
                    test_a_slot_that_failed_is_not_asked_again_at_once);
    g_test_add_func("/authority/a-drained-token-gets-no-work", test_a_drained_token_gets_no_work);
    g_test_add_func("/authority/who-waits-for-a-drained-token-is-told-what-became-of-it",
                    test_who_waits_for_a_drained_token_is_told_what_became_of_it);
    g_test_add_func("/authority/every-kind-of-request-on-a-token", test_every_kind_of_request_on_a_token);
    return g_test_run();
}
