/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The journal as the link uses it: verdicts, and what is there after a restart. */

#include "daemon/error.h"
#include "tests/unit/link/disk.h"
#include "tests/unit/link/journal-calls.h"
#include <string.h>

static void repeated_request_gets_the_stored_answer(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    g_assert_cmpint(verdict_at(journal, "id", "request", NOW, NOW), ==, JOURNAL_NEW);
    intend(journal, "id", "request", NOW, "{\"serial\":\"4b38\"}");
    {
        g_auto(Outcome) intended = look_up_at(journal, "id", "request", NOW, NOW);
        g_assert_cmpint(intended.verdict, ==, JOURNAL_INTENDED);
        g_assert_cmpstr(intended.intent, ==, "{\"serial\":\"4b38\"}");
        g_assert_null(intended.answer);
    }
    answer(journal, "id", "{\"success\":true}");
    for (int round = 0; round < 2; round++) {
        g_auto(Outcome) answered = look_up_at(journal, "id", "request", NOW, NOW + 60);
        g_assert_cmpint(answered.verdict, ==, JOURNAL_ANSWERED);
        g_assert_cmpstr(answered.intent, ==, "{\"serial\":\"4b38\"}");
        g_assert_cmpstr(answered.answer, ==, "{\"success\":true}");
        journal = reopen_journal(journal, path);
    }
    journal_close(journal);
}

static void same_id_with_another_request_is_a_conflict(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    intend(journal, "id", "request", NOW, "{}");
    g_auto(Outcome) other = look_up_at(journal, "id", "another", NOW, NOW);
    g_assert_cmpint(other.verdict, ==, JOURNAL_CONFLICT);
    g_assert_null(other.intent);
    answer(journal, "id", "secret answer");
    g_auto(Outcome) again = look_up_at(journal, "id", "another", NOW, NOW);
    g_assert_cmpint(again.verdict, ==, JOURNAL_CONFLICT);
    g_assert_null(again.answer);
    g_assert_cmpint(verdict_at(journal, "ID", "request", NOW, NOW), ==, JOURNAL_NEW);
}

static void authorities_do_not_share_ids(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32];
    digest_of("request", digest);
    intend(journal, "id", "request", NOW, "{}");
    g_auto(Outcome) outcome = {0};
    journal_look_up(journal, "bb", "id", digest, NOW, NOW, on_found, &outcome);
    test_wait(&outcome.done, 20);
    g_assert_cmpint(outcome.verdict, ==, JOURNAL_NEW);
}

static void stale_borders_are_exact(void)
{
    static const struct {
        gint64 signing_time;
        JournalVerdict verdict;
    } cases[] = {
        {0, JOURNAL_STALE},
        {-1, JOURNAL_STALE},
        {NOW, JOURNAL_NEW},
        {NOW + 300, JOURNAL_NEW},
        {NOW + 301, JOURNAL_STALE},
        {NOW - WINDOW, JOURNAL_NEW},
        {NOW - WINDOW - 1, JOURNAL_STALE},
        {G_MAXINT64, JOURNAL_STALE},
        {G_MININT64, JOURNAL_STALE},
    };
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(verdict_at(journal, "id", "request", cases[i].signing_time, NOW), ==,
                        cases[i].verdict);
}

/* Also when the clock goes back afterwards: what was evicted can't be signed again. */
static void evicted_requests_stay_refused(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    intend(journal, "old", "request", NOW, "{}");
    answer(journal, "old", "answer");
    g_assert_cmpint(verdict_at(journal, "x", "y", NOW + 1 + WINDOW, NOW + 1 + WINDOW), ==, JOURNAL_NEW);
    for (int round = 0; round < 2; round++) {
        g_assert_cmpint(verdict_at(journal, "old", "request", NOW, NOW), ==, JOURNAL_STALE);
        g_assert_cmpint(verdict_at(journal, "other", "request", NOW, NOW), ==, JOURNAL_STALE);
        g_assert_cmpint(verdict_at(journal, "other", "request", NOW + 1, NOW), ==, JOURNAL_NEW);
        journal = reopen_journal(journal, path);
    }
    journal_close(journal);
}

/* The platform signs the same request again later: its row must live as long as that copy would be accepted.
 */
static void repetition_signed_later_keeps_the_row(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    intend(journal, "id", "request", NOW, "{}");
    answer(journal, "id", "answer");
    g_assert_cmpint(verdict_at(journal, "id", "request", NOW + 10 * DAY, NOW + 10 * DAY), ==,
                    JOURNAL_ANSWERED);
    g_assert_cmpint(verdict_at(journal, "x", "y", NOW + 35 * DAY, NOW + 35 * DAY), ==, JOURNAL_NEW);
    g_assert_cmpint(verdict_at(journal, "id", "request", NOW + 10 * DAY, NOW + 35 * DAY), ==,
                    JOURNAL_ANSWERED);
}

static void second_intent_for_one_request_fails(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32];
    digest_of("request", digest);
    g_auto(Outcome) first = {0};
    g_auto(Outcome) second = {0};
    g_auto(Outcome) third = {0};
    journal_intend(journal, "aa", "id", digest, NOW, "{\"serial\":1}", on_done, &first);
    journal_intend(journal, "aa", "id", digest, NOW, "{\"serial\":2}", on_done, &second);
    journal_intend(journal, "aa", "other", digest, NOW, "{\"serial\":3}", on_done, &third);
    test_wait(&third.done, 20);
    g_assert_no_error(first.error);
    g_assert_error(second.error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_assert_no_error(third.error);
    g_auto(Outcome) outcome = look_up_at(journal, "id", "request", NOW, NOW);
    g_assert_cmpstr(outcome.intent, ==, "{\"serial\":1}");
}

/* The channel of the first one is gone, and its answer will be recorded, not sent: copies wait for that. */
static void a_copy_of_an_abandoned_request_gets_its_answer(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32], other[32];
    digest_of("request", digest);
    digest_of("another", other);
    g_auto(Outcome) first = {0};
    g_auto(Outcome) copy = {0};
    g_auto(Outcome) second_copy = {0};
    g_auto(Outcome) conflict = {0};
    g_assert_true(journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &first));
    journal_abandon(journal, "aa", "id", &first); /* while it is still being looked up */
    g_assert_false(journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &copy));
    g_assert_false(journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &second_copy));
    g_assert_true(journal_look_up(journal, "aa", "id", other, NOW, NOW, on_found, &conflict));
    test_wait(&conflict.done, 20);
    g_assert_cmpint(first.verdict, ==, JOURNAL_NEW);
    g_assert_cmpint(conflict.verdict, ==, JOURNAL_CONFLICT);
    intend(journal, "id", "request", NOW, "{}");
    answer(journal, "id", "text");
    g_assert_false(copy.done);
    journal_release(journal, "aa", "id");
    test_wait(&copy.done, 20);
    test_wait(&second_copy.done, 20);
    g_assert_cmpint(copy.verdict, ==, JOURNAL_ANSWERED);
    g_assert_cmpstr(copy.answer, ==, "text");
    g_assert_true(second_copy.verdict == JOURNAL_IN_FLIGHT || second_copy.verdict == JOURNAL_ANSWERED);
}

/* One channel after the other goes away, each with a copy in hand. The last one gets through. */
static void abandoned_copies_pass_it_on(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32];
    digest_of("request", digest);
    Outcome outcomes[4] = {0};
    for (guint i = 0; i < 4; i++) {
        journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &outcomes[i]);
        if (i < 3)
            journal_abandon(journal, "aa", "id", &outcomes[i]);
    }
    for (guint i = 0; i < 4; i++) {
        test_wait(&outcomes[i].done, 20);
        g_assert_cmpint(outcomes[i].verdict, ==, JOURNAL_NEW);
        g_assert_true(i == 3 || !outcomes[i + 1].done);
        journal_release(journal, "aa", "id");
        outcome_clear(&outcomes[i]);
    }
}

/* A copy that comes while the first is being signed gets nothing signed and no refusal either. */
static void only_one_copy_is_handled_at_a_time(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32], other[32];
    digest_of("request", digest);
    digest_of("another", other);
    g_auto(Outcome) first = {0};
    g_auto(Outcome) copy = {0};
    g_auto(Outcome) conflict = {0};
    g_auto(Outcome) unrelated = {0};
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &first);
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &copy);
    journal_look_up(journal, "aa", "id", other, NOW, NOW, on_found, &conflict);
    journal_look_up(journal, "aa", "id2", digest, NOW, NOW, on_found, &unrelated);
    g_assert_false(copy.done);
    test_wait(&unrelated.done, 20);
    g_assert_cmpint(first.verdict, ==, JOURNAL_NEW);
    g_assert_cmpint(copy.verdict, ==, JOURNAL_IN_FLIGHT);
    g_assert_cmpint(conflict.verdict, ==, JOURNAL_CONFLICT);
    g_assert_cmpint(unrelated.verdict, ==, JOURNAL_NEW);

    intend(journal, "id", "request", NOW, "{}");
    answer(journal, "id", "text");
    g_auto(Outcome) late = {0};
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &late);
    test_wait(&late.done, 20);
    g_assert_cmpint(late.verdict, ==, JOURNAL_IN_FLIGHT);
    journal_release(journal, "aa", "id");
    /* What is answered holds nothing back. */
    for (int i = 0; i < 2; i++) {
        g_auto(Outcome) answered = {0};
        journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &answered);
        test_wait(&answered.done, 20);
        g_assert_cmpint(answered.verdict, ==, JOURNAL_ANSWERED);
    }
}

static void look_ups_see_what_was_queued_before(void)
{
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    guint8 digest[32];
    digest_of("request", digest);
    g_auto(Outcome) intended = {0};
    g_auto(Outcome) found = {0};
    g_auto(Outcome) answered = {0};
    g_auto(Outcome) again = {0};
    journal_intend(journal, "aa", "id", digest, NOW, "{}", on_done, &intended);
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &found);
    journal_answer(journal, "aa", "id", "text", on_done, &answered);
    journal_release(journal, "aa", "id");
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &again);
    test_wait(&again.done, 20);
    g_assert_true(intended.done && found.done && answered.done);
    g_assert_cmpint(found.verdict, ==, JOURNAL_INTENDED);
    g_assert_cmpint(again.verdict, ==, JOURNAL_ANSWERED);
}

static void closing_finishes_what_is_queued(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    guint8 digest[32];
    digest_of("request", digest);
    g_auto(Outcome) intended = {0};
    g_auto(Outcome) answered = {0};
    disk_set_delay(50);
    journal_intend(journal, "aa", "id", digest, NOW, "{}", on_done, &intended);
    journal_answer(journal, "aa", "id", "text", on_done, &answered);
    journal_set_since(journal, "channel", "m7");
    journal_close(journal);
    disk_set_delay(0);
    g_assert_true(intended.done && answered.done);
    g_assert_no_error(intended.error);
    g_assert_no_error(answered.error);

    journal = open_journal(path);
    g_assert_cmpint(verdict_at(journal, "id", "request", NOW, NOW), ==, JOURNAL_ANSWERED);
    g_autofree char *since = journal_get_since(journal, "channel");
    g_assert_cmpstr(since, ==, "m7");
    journal_close(journal);
}

static void since_is_there_at_once_and_after_a_restart(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    g_assert_null(journal_get_since(journal, "channel"));
    guint before = disk_syncs();
    for (int i = 0; i <= 100; i++) {
        g_autofree char *id = g_strdup_printf("m%d", i);
        journal_set_since(journal, "channel", id);
        g_autofree char *since = journal_get_since(journal, "channel");
        g_assert_cmpstr(since, ==, id);
    }
    journal_flush(journal);
    g_test_message("101 times since, %u fsyncs", disk_syncs() - before);
    g_assert_cmpuint(disk_syncs() - before, <, 20);
    journal = reopen_journal(journal, path);
    g_autofree char *since = journal_get_since(journal, "channel");
    g_assert_cmpstr(since, ==, "m100");
    journal_close(journal);
}

static void damaged_journal_refuses_all_that_was_signed_before(void)
{
    g_autofree char *path = new_path();
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_assert_true(g_file_set_contents(
        path, "not a database, and longer than a header of a hundred bytes would be", -1, NULL));
    g_autoptr(Journal) journal = open_journal(path);
    g_assert_cmpint(verdict_at(journal, "id", "request", now - 1, now), ==, JOURNAL_STALE);
    g_assert_cmpint(verdict_at(journal, "id", "request", now + 60, now + 60), ==, JOURNAL_NEW);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    g_test_add_func("/journal/a-repeated-request-gets-the-stored-answer",
                    repeated_request_gets_the_stored_answer);
    g_test_add_func("/journal/the-same-id-with-another-request-is-a-conflict",
                    same_id_with_another_request_is_a_conflict);
    g_test_add_func("/journal/authorities-do-not-share-ids", authorities_do_not_share_ids);
    g_test_add_func("/journal/stale-borders-are-exact", stale_borders_are_exact);
    g_test_add_func("/journal/evicted-requests-stay-refused", evicted_requests_stay_refused);
    g_test_add_func("/journal/a-repetition-signed-later-keeps-the-row",
                    repetition_signed_later_keeps_the_row);
    g_test_add_func("/journal/a-second-intent-for-one-request-fails", second_intent_for_one_request_fails);
    g_test_add_func("/journal/a-copy-of-an-abandoned-request-gets-its-answer",
                    a_copy_of_an_abandoned_request_gets_its_answer);
    g_test_add_func("/journal/abandoned-copies-pass-it-on", abandoned_copies_pass_it_on);
    g_test_add_func("/journal/only-one-copy-is-handled-at-a-time", only_one_copy_is_handled_at_a_time);
    g_test_add_func("/journal/look-ups-see-what-was-queued-before", look_ups_see_what_was_queued_before);
    g_test_add_func("/journal/closing-finishes-what-is-queued", closing_finishes_what_is_queued);
    g_test_add_func("/journal/since-is-there-at-once-and-after-a-restart",
                    since_is_there_at_once_and_after_a_restart);
    g_test_add_func("/journal/a-damaged-journal-refuses-all-that-was-signed-before",
                    damaged_journal_refuses_all_that_was_signed_before);
    return g_test_run();
}
