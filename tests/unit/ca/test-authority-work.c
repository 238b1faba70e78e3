/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whose turn it is: how an authority's work is shared by the tokens that hold its key, and what becomes of it
 * when one of them is slow, fails, is drained or is pulled out. */

#include "tests/unit/ca/authority-bench.h"

static void work_goes_where_the_queue_is_shortest(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    Use uses[4] = {0};
    bench_start_held(bench, uses, 4);
    g_assert_cmpuint(token_load(slot_token(bench->first)), ==, 2);
    g_assert_cmpuint(token_load(slot_token(bench->second)), ==, 2);
    bench_hold(bench, "F1", false);
    bench_hold(bench, "F2", false);
    bench_finish(bench, uses, 4);
    g_assert_cmpuint(slot_signatures(bench->first), ==, 2);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 2);
}

static void work_goes_to_the_token_that_is_left(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    fake_source_unplug(bench->tokens->source, "F1");
    assert_authority_signs(bench->authority, bench->key);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 1);

    /* The manager has not told the set yet. */
    fake_source_unplug(bench->tokens->source, "F2");
    g_autoptr(GError) busy = NULL;
    g_auto(Use) failed = {0};
    g_assert_false(use_start(&failed, bench->authority, &busy));
    g_assert_nonnull(busy);
    g_assert_false(failed.ending.done);
    authority_set_update(bench->set, bench->first, false);
    authority_set_update(bench->set, bench->second, false);
    g_autoptr(GError) gone = NULL;
    g_auto(Use) again = {0};
    g_assert_false(use_start(&again, bench->authority, &gone));
    g_assert_error(gone, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
}

/* What waits in the queue of a token that is pulled out is done by the other one. What ran there may have
 * failed. */
static void waiting_work_moves_to_the_token_that_is_left(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    Use uses[8] = {0};
    guint failed = 0;
    bench_start_held(bench, uses, 8);
    fake_source_unplug(bench->tokens->source, "F1");
    bench_hold(bench, "F2", false);
    for (int i = 0; i < 8; i++) {
        test_wait(&uses[i].ending.done, 60);
        if (uses[i].ending.error) {
            g_assert_error(uses[i].ending.error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
            failed++;
        } else {
            g_assert_true(verifies(bench->key, uses[i].made));
        }
    }
    for (int i = 0; i < 8; i++)
        use_clear(&uses[i]);
    g_assert_cmpuint(failed, <=, 1);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 8 - failed);
}

static void a_token_without_its_pin_comes_last(void)
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
    for (int i = 0; i < 3; i++)
        assert_authority_signs(authority, key);
    g_assert_cmpuint(slot_signatures(open), ==, 3);
}

/* Many things for one authority, then one for another, on one token: the one is not the last. */
static void authorities_take_turns(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(ONE_TOKEN);
    g_autoptr(EVP_PKEY) modest_key = test_new_key("p256");
    g_autoptr(X509) modest_ca = test_ca("Modest", modest_key);
    g_autoptr(Slot) modest_slot = slot_of(bench, "F1", modest_key, modest_ca);
    Authority *busy = bench->authority;
    Authority *modest = authority_set_of_slot(bench->set, modest_slot);
    Use many[40] = {0};
    g_auto(Use) one = {0};
    bench_hold(bench, "F1", true);
    for (gsize i = 0; i < G_N_ELEMENTS(many); i++)
        g_assert_true(use_start(&many[i], busy, NULL));
    g_assert_true(use_start(&one, modest, NULL));
    g_assert_cmpuint(token_load(slot_token(bench->first)), ==, 2);
    g_assert_cmpuint(authority_waiting(busy), ==, 38);
    bench_hold(bench, "F1", false);
    use_finish(&one, modest_key);
    g_assert_cmpuint(slot_signatures(bench->first), <=, 4);
    bench_finish(bench, many, G_N_ELEMENTS(many));
    g_assert_cmpuint(authority_waiting(busy), ==, 0);
}

/* Work that takes a number instead of signing. */
typedef struct Order {
    gint *next;
    GAsyncQueue *taken; /* is told; may be NULL */
    gint mine;
    bool done;
} Order;

static bool take_number(EVP_PKEY *key, void *data, GError **error)
{
    Order *order = data;
    order->mine = g_atomic_int_add(order->next, 1);
    if (order->taken)
        g_async_queue_push(order->taken, order);
    return true;
}

static void on_numbered(const GError *error, void *userdata)
{
    g_assert_no_error(error);
    ((Order *)userdata)->done = true;
}

static void work_begins_in_order_and_what_is_first_before_it(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(ONE_TOKEN);
    gint next = 0;
    Order orders[20] = {0};
    for (int i = 0; i < 20; i++) {
        orders[i].next = &next;
        AuthorityWork work = work_of(take_number, &orders[i], on_numbered, &orders[i]);
        work.first = i == 19;
        g_assert_true(authority_use_key(bench->authority, &work, NULL));
    }
    for (int i = 0; i < 20; i++)
        test_wait(&orders[i].done, 30);
    for (int i = 0; i < 19; i++)
        g_assert_cmpint(orders[i].mine, ==, i < 2 ? i : i + 1);
    g_assert_cmpint(orders[19].mine, ==, 2);
}

/* The main loop was away when the signature was made and the token's patience ended. */
static void work_that_was_done_is_not_done_again(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    g_autoptr(GAsyncQueue) taken = g_async_queue_new();
    gint next = 0;
    Order order = {.next = &next, .taken = taken};
    const AuthorityWork work = work_of(take_number, &order, on_numbered, &order);
    gint64 patience_over = g_get_monotonic_time() + G_USEC_PER_SEC + 50000;
    g_assert_true(authority_use_key(bench->authority, &work, NULL));
    g_async_queue_pop(taken);
    g_usleep((gulong)MAX(patience_over - g_get_monotonic_time(), 0)); /* that it is away is what is tested */
    test_wait(&order.done, 30);
    g_assert_cmpint(g_atomic_int_get(&next), ==, 1);
}

static void work_that_has_not_begun_in_time_is_not_done(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(ONE_TOKEN);
    Use uses[4] = {0};
    bench_hold(bench, "F1", true);
    g_assert_true(use_start(&uses[0], bench->authority, NULL));
    for (int i = 1; i < 4; i++)
        g_assert_true(use_start_by(&uses[i], bench->authority, g_get_monotonic_time() + 20000, NULL));
    for (int i = 1; i < 4; i++) {
        ending_fails(&uses[i].ending, IOTHSM_ERROR_CANCELLED);
        use_clear(&uses[i]);
    }
    bench_hold(bench, "F1", false);
    bench_finish(bench, uses, 1);
    g_assert_cmpuint(slot_signatures(bench->first), ==, 1);
}

static bool all_but_one_are_done(void *userdata)
{
    const Use *uses = userdata;
    guint done = 0;
    for (int i = 0; i < 6; i++)
        done += uses[i].ending.done;
    return done == 5;
}

/* A token that does not come back from one signature keeps the next one waiting for a moment only. */
static void a_stuck_token_loses_what_it_has_not_begun(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    Use uses[6] = {0};
    bench_start_held(bench, uses, 6);
    bench_hold(bench, "F2", false);
    test_wait_for(all_but_one_are_done, uses, 60);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 5);
    bench_hold(bench, "F1", false);
    bench_finish(bench, uses, 6);
}

static void a_slot_that_failed_is_not_asked_again_at_once(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    g_autoptr(GPtrArray) tried = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    Signed made = {0};
    fake_source_fail_next(bench->tokens->source, "F1", 1, IOTHSM_ERROR_FAILED);
    fake_source_fail_next(bench->tokens->source, "F2", 1, IOTHSM_ERROR_FAILED);
    AuthorityWork work = work_of(sign_message, &made, ending_done, NULL);
    work.tried = tried;
    for (guint i = 0; i < 2; i++) {
        g_auto(Ending) ending = {0};
        work.userdata = &ending;
        g_assert_true(authority_use_key(bench->authority, &work, NULL));
        ending_fails(&ending, IOTHSM_ERROR_FAILED);
        g_assert_cmpuint(tried->len, ==, i + 1);
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(authority_use_key(bench->authority, &work, &error));
    g_assert_nonnull(error);
    g_assert_true(slot_has_just_failed(bench->first));

    /* Both have just failed, so one of them does it; then that one is the better one. */
    for (int i = 0; i < 5; i++)
        assert_authority_signs(bench->authority, bench->key);
    g_assert_cmpuint(MAX(slot_signatures(bench->first), slot_signatures(bench->second)), ==, 5);
}

/* --- drained tokens ---------------------------------------------------------------------------------- */

/* A token that is drained finishes its work, and the other one goes on. */
static void a_drained_token_gets_no_work(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    Token *token = slot_token(bench->first);
    g_auto(Ending) drained = {0};
    g_auto(Ending) cancelled = {0};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Use running[2] = {0}, more[4] = {0};
    bench_start_held(bench, running, 2);

    token_set_draining(token, true);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_DRAINING);
    token_wait_drained(token, NULL, ending_done, &drained);
    token_wait_drained(token, cancellable, ending_done, &cancelled);
    for (int i = 0; i < 4; i++)
        g_assert_true(use_start(&more[i], bench->authority, NULL));
    g_cancellable_cancel(cancellable);
    ending_fails(&cancelled, IOTHSM_ERROR_CANCELLED);
    g_assert_false(drained.done);
    bench_hold(bench, "F1", false);
    ending_ok(&drained);
    bench_hold(bench, "F2", false);
    bench_finish(bench, running, 2);
    bench_finish(bench, more, 4);
    g_assert_cmpuint(slot_signatures(bench->first), ==, 1);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 5);
}

/* What was offered before is still done; then there is nobody, until one works again. */
static void when_all_are_drained_work_is_refused(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    g_auto(Ending) first_drained = {0};
    token_set_draining(slot_token(bench->first), true);
    token_wait_drained(slot_token(bench->first), NULL, ending_done, &first_drained);
    ending_ok(&first_drained);
    g_assert_true(authority_is_served(bench->authority));
    token_set_draining(slot_token(bench->second), true);
    g_assert_false(authority_is_served(bench->authority));
    assert_authority_signs(bench->authority, bench->key);
    g_assert_cmpuint(slot_signatures(bench->second), ==, 1);

    g_auto(Ending) drained = {0};
    token_wait_drained(slot_token(bench->second), NULL, ending_done, &drained);
    ending_ok(&drained);
    g_autoptr(GError) error = NULL;
    g_auto(Use) refused = {0};
    g_assert_false(use_start(&refused, bench->authority, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY);
    token_set_draining(slot_token(bench->first), false);
    g_assert_true(authority_is_served(bench->authority));
    assert_authority_signs(bench->authority, bench->key);
    g_assert_cmpuint(slot_signatures(bench->first), ==, 1);
}

static void who_waits_for_a_drained_token_is_told_what_became_of_it(void)
{
    g_autoptr(Bench) bench = bench_new_with_authority(TWO_TOKENS);
    Use uses[2] = {0};
    g_auto(Ending) undone = {0};
    g_auto(Ending) gone = {0};
    bench_start_held(bench, uses, 2);
    token_set_draining(slot_token(bench->first), true);
    token_set_draining(slot_token(bench->second), true);
    token_wait_drained(slot_token(bench->first), NULL, ending_done, &undone);
    token_wait_drained(slot_token(bench->second), NULL, ending_done, &gone);
    token_set_draining(slot_token(bench->first), false);
    ending_fails(&undone, IOTHSM_ERROR_CANCELLED);
    fake_source_unplug(bench->tokens->source, "F2");
    ending_fails(&gone, IOTHSM_ERROR_TOKEN_GONE);
    bench_hold(bench, "F1", false);
    for (int i = 0; i < 2; i++) {
        test_wait(&uses[i].ending.done, 60);
        use_clear(&uses[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/authority-work/" #function, function)
    ADD(work_goes_where_the_queue_is_shortest);
    ADD(work_goes_to_the_token_that_is_left);
    ADD(waiting_work_moves_to_the_token_that_is_left);
    ADD(a_token_without_its_pin_comes_last);
    ADD(authorities_take_turns);
    ADD(work_begins_in_order_and_what_is_first_before_it);
    ADD(work_that_was_done_is_not_done_again);
    ADD(work_that_has_not_begun_in_time_is_not_done);
    ADD(a_stuck_token_loses_what_it_has_not_begun);
    ADD(a_slot_that_failed_is_not_asked_again_at_once);
    ADD(a_drained_token_gets_no_work);
    ADD(when_all_are_drained_work_is_refused);
    ADD(who_waits_for_a_drained_token_is_told_what_became_of_it);
    return g_test_run();
}
