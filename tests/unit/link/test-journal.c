/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The journal as the link uses it: verdicts, what survives kill -9, the shared fsync, and a slow or full disk
 * that must not be felt in the main loop. */

#include "daemon/error.h"
#include "daemon/link/journal.h"
#include "tests/support/support.h"
#include "tests/unit/link/disk.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DAY = 86400, WINDOW = 30 * DAY, NOW = 1800000000 };

static const char *program;

typedef struct Outcome {
    bool done;
    JournalVerdict verdict;
    char *intent;
    char *answer;
    GError *error;
} Outcome;

static void outcome_clear(Outcome *outcome)
{
    g_clear_pointer(&outcome->intent, g_free);
    g_clear_pointer(&outcome->answer, g_free);
    g_clear_error(&outcome->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_clear)

static void on_found(JournalVerdict verdict, const char *intent, const char *answer, const GError *error,
                     void *userdata)
{
    Outcome *outcome = userdata;
    g_assert_false(outcome->done);
    outcome->done = true;
    outcome->verdict = verdict;
    outcome->intent = g_strdup(intent);
    outcome->answer = g_strdup(answer);
    outcome->error = error ? g_error_copy(error) : NULL;
}

static void on_done(const GError *error, void *userdata)
{
    Outcome *outcome = userdata;
    g_assert_false(outcome->done);
    outcome->done = true;
    outcome->error = error ? g_error_copy(error) : NULL;
}

static void digest_of(const char *text, guint8 digest[32])
{
    memset(digest, 0, 32);
    memcpy(digest, text, MIN(strlen(text), 32));
}

static Journal *open_journal(const char *path)
{
    g_autoptr(GError) error = NULL;
    Journal *journal = journal_open(path, WINDOW, &error);
    g_assert_no_error(error);
    return journal;
}

static char *new_path(void)
{
    g_autofree char *directory = test_directory();
    return g_build_filename(directory, "journal.sqlite", NULL);
}

static Outcome look_up_at(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
                          gint64 now)
{
    Outcome outcome = {0};
    guint8 digest[32];
    digest_of(request, digest);
    journal_look_up(journal, "aa", siguuid, digest, signing_time, now, on_found, &outcome);
    test_wait(&outcome.done, 20);
    journal_release(journal, "aa", siguuid);
    return outcome;
}

static JournalVerdict verdict_at(Journal *journal, const char *siguuid, const char *request,
                                 gint64 signing_time, gint64 now)
{
    g_auto(Outcome) outcome = look_up_at(journal, siguuid, request, signing_time, now);
    g_assert_no_error(outcome.error);
    return outcome.verdict;
}

static void intend(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
                   const char *intent)
{
    g_auto(Outcome) outcome = {0};
    guint8 digest[32];
    digest_of(request, digest);
    journal_intend(journal, "aa", siguuid, digest, signing_time, intent, on_done, &outcome);
    g_assert_false(outcome.done);
    test_wait(&outcome.done, 20);
    g_assert_no_error(outcome.error);
}

static void answer(Journal *journal, const char *siguuid, const char *text)
{
    g_auto(Outcome) outcome = {0};
    journal_answer(journal, "aa", siguuid, text, on_done, &outcome);
    g_assert_false(outcome.done);
    test_wait(&outcome.done, 20);
    g_assert_no_error(outcome.error);
}

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
        journal_close(journal);
        journal = open_journal(path);
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
        journal_close(journal);
        journal = open_journal(path);
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
    journal_close(journal);
    journal = open_journal(path);
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

typedef struct Many {
    guint waiting;
    bool done;
    guint failed;
} Many;

static void on_one_of_many(const GError *error, void *userdata)
{
    Many *many = userdata;
    many->failed += error != NULL;
    many->done = --many->waiting == 0;
}

static Many intend_many(Journal *journal, guint count, const char *text)
{
    Many many = {.waiting = count};
    guint8 digest[32];
    digest_of("request", digest);
    for (guint i = 0; i < count; i++) {
        g_autofree char *id = g_strdup_printf("many-%u", i);
        journal_intend(journal, "aa", id, digest, NOW, text, on_one_of_many, &many);
    }
    test_wait(&many.done, 60);
    return many;
}

static void requests_that_arrive_together_share_an_fsync(void)
{
    enum { COUNT = 1000 };
    g_autofree char *path = new_path();
    g_autoptr(Journal) journal = open_journal(path);
    journal_flush(journal);
    disk_set_delay(5);
    guint before = disk_syncs();
    Many many = intend_many(journal, COUNT, "{\"serial\":\"4b38\"}");
    guint syncs = disk_syncs() - before;
    disk_set_delay(0);
    g_assert_cmpuint(many.failed, ==, 0);
    g_test_message("%d intents, %u fsyncs", COUNT, syncs);
    g_assert_cmpuint(syncs, >=, 1);
    g_assert_cmpuint(syncs, <, COUNT / 20);
}

typedef struct Pulse {
    gint64 last;
    gint64 worst;
} Pulse;

static gboolean on_pulse(gpointer userdata)
{
    Pulse *pulse = userdata;
    gint64 now = g_get_monotonic_time();
    if (pulse->last)
        pulse->worst = MAX(pulse->worst, now - pulse->last);
    pulse->last = now;
    return G_SOURCE_CONTINUE;
}

static void slow_disk_is_not_felt_in_the_main_loop(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    g_auto(Outcome) intended = {0};
    g_auto(Outcome) found = {0};
    guint8 digest[32];
    digest_of("request", digest);
    journal_flush(journal);

    Pulse pulse = {0};
    guint timer = g_timeout_add(5, on_pulse, &pulse);
    disk_set_delay(1500);
    gint64 start = g_get_monotonic_time();
    journal_intend(journal, "aa", "id", digest, NOW, "{}", on_done, &intended);
    journal_look_up(journal, "aa", "id", digest, NOW, NOW, on_found, &found);
    journal_set_since(journal, "channel", "m1");
    g_free(journal_get_since(journal, "channel"));
    gint64 called = g_get_monotonic_time() - start;
    test_wait(&found.done, 20);
    g_assert_true(intended.done);
    gint64 durable = g_get_monotonic_time() - start;
    g_source_remove(timer);
    disk_set_delay(0);

    g_test_message("the calls took %" G_GINT64_FORMAT " µs, the longest pause of the loop %" G_GINT64_FORMAT
                   " µs, durable after %" G_GINT64_FORMAT " ms",
                   called, pulse.worst, durable / 1000);
    g_assert_cmpint(durable, >=, 1400 * 1000);
    g_assert_cmpint(called, <, 1000 * 1000);
    g_assert_cmpint(pulse.worst, <, 1000 * 1000);
    journal_close(journal);
}

/* Files may not grow: SQLite sees a full disk. */
static void full_disk_fails_in_words_and_heals(void)
{
    g_autofree char *path = new_path();
    Journal *journal = open_journal(path);
    intend(journal, "before", "request", NOW, "{}");

    g_autofree char *wal = g_strconcat(path, "-wal", NULL);
    struct stat status;
    g_assert_cmpint(stat(wal, &status), ==, 0);
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = (rlim_t)status.st_size, .rlim_max = old.rlim_max});
    Many full = intend_many(journal, 10, "{}");
    setrlimit(RLIMIT_FSIZE, &old);
    g_assert_cmpuint(full.failed, ==, 10);

    g_assert_cmpint(verdict_at(journal, "many-0", "request", NOW, NOW), ==, JOURNAL_NEW);
    g_assert_cmpint(verdict_at(journal, "before", "request", NOW, NOW), ==, JOURNAL_INTENDED);
    Many after = intend_many(journal, 10, "{}");
    g_assert_cmpuint(after.failed, ==, 0);
    journal_close(journal);
    journal = open_journal(path);
    g_assert_cmpint(verdict_at(journal, "many-9", "request", NOW, NOW), ==, JOURNAL_INTENDED);
    journal_close(journal);
}

/* The file breaks under the running journal: nothing is signed from what can't be read, then it starts over
 * with everything before refused. */
static void damage_in_use_starts_over(void)
{
    enum { COUNT = 4000 };
    g_autofree char *path = new_path();
    g_autofree char *text = g_strnfill(2000, 'x');
    g_autoptr(Journal) journal = open_journal(path);
    Many many = intend_many(journal, COUNT, text);
    g_assert_cmpuint(many.failed, ==, 0);
    g_assert_cmpint(verdict_at(journal, "many-0", "request", NOW, NOW), ==, JOURNAL_INTENDED);

    struct stat status;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fstat(fd, &status), ==, 0);
    g_autofree char *noise = g_strnfill((gsize)status.st_size, 'Z');
    g_assert_cmpint(pwrite(fd, noise, (gsize)status.st_size, 0), ==, status.st_size);
    close(fd);

    guint errors = 0;
    guint stale = 0;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    for (int i = 0; i < COUNT && stale == 0; i += 50) {
        g_autofree char *id = g_strdup_printf("many-%d", i);
        g_auto(Outcome) outcome = look_up_at(journal, id, "request", now - 10, now);
        errors += outcome.error != NULL;
        stale += !outcome.error && outcome.verdict == JOURNAL_STALE;
        g_assert_true(outcome.error || outcome.verdict == JOURNAL_STALE ||
                      outcome.verdict == JOURNAL_INTENDED);
    }
    g_assert_cmpuint(errors, >, 0);
    g_assert_cmpuint(stale, ==, 1);
    g_assert_cmpint(verdict_at(journal, "new", "request", now + 120, now + 120), ==, JOURNAL_NEW);
}

/* The child of the next test: intends and answers for ever, and says so once it is durable. */
static void on_child_answered(const GError *error, void *userdata)
{
    g_assert_no_error((GError *)error);
    printf("answered %s\n", (char *)userdata);
    fflush(stdout);
    g_free(userdata);
}

static void on_child_intended(const GError *error, void *userdata)
{
    g_assert_no_error((GError *)error);
    printf("intended %s\n", (char *)userdata);
    fflush(stdout);
    g_free(userdata);
}

static void child(const char *path, const char *prefix)
{
    Journal *journal = open_journal(path);
    for (guint i = 0;; i++) {
        g_autofree char *id = g_strdup_printf("%s-%u", prefix, i);
        g_autofree char *intent = g_strdup_printf("{\"intent\":\"%s\"}", id);
        g_autofree char *text = g_strdup_printf("answer to %s", id);
        guint8 digest[32];
        digest_of("request", digest);
        journal_intend(journal, "aa", id, digest, NOW, intent, on_child_intended, g_strdup(id));
        if (i % 2 == 0)
            journal_answer(journal, "aa", id, text, on_child_answered, g_strdup(id));
        if (i % 7 == 0)
            journal_flush(journal);
        while (g_main_context_iteration(NULL, FALSE))
            ;
    }
}

static void check_reported(Journal *journal, const char *line)
{
    const char *id = strchr(line, ' ') + 1;
    g_auto(Outcome) outcome = look_up_at(journal, id, "request", NOW, NOW);
    g_autofree char *intent = g_strdup_printf("{\"intent\":\"%s\"}", id);
    g_autofree char *text = g_strdup_printf("answer to %s", id);
    g_assert_no_error(outcome.error);
    g_assert_cmpstr(outcome.intent, ==, intent);
    if (g_str_has_prefix(line, "answered"))
        g_assert_cmpstr(outcome.answer, ==, text);
}

/* Everything that was reported durable is there after kill -9, wherever it hits. */
static void kill_loses_nothing_that_was_reported(void)
{
    g_autofree char *path = new_path();
    guint reported = 0;
    for (int round = 0; round < 8; round++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *prefix = g_strdup_printf("r%d", round);
        g_autoptr(GSubprocess) process =
            g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error, program, "--child", path, prefix, NULL);
        g_assert_no_error(error);
        g_autoptr(GDataInputStream) out = g_data_input_stream_new(g_subprocess_get_stdout_pipe(process));
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        gint wanted = g_test_rand_int_range(1, 150);
        for (gint i = 0; i < wanted; i++)
            g_ptr_array_add(lines, g_data_input_stream_read_line(out, NULL, NULL, &error));
        g_subprocess_force_exit(process);
        for (char *line = g_data_input_stream_read_line(out, NULL, NULL, &error); line;
             line = g_data_input_stream_read_line(out, NULL, NULL, &error))
            g_ptr_array_add(lines, line);
        g_subprocess_wait(process, NULL, NULL);

        g_autoptr(Journal) journal = open_journal(path);
        for (guint i = 0; i < lines->len; i++) {
            g_assert_nonnull(lines->pdata[i]);
            check_reported(journal, lines->pdata[i]);
        }
        reported += lines->len;
    }
    g_test_message("%u reports, 8 kills", reported);
}

int main(int argc, char *argv[])
{
    program = argv[0];
    if (argc == 4 && g_str_equal(argv[1], "--child")) {
        child(argv[2], argv[3]);
        return 1;
    }
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
    g_test_add_func("/journal/requests-that-arrive-together-share-an-fsync",
                    requests_that_arrive_together_share_an_fsync);
    g_test_add_func("/journal/a-slow-disk-is-not-felt-in-the-main-loop",
                    slow_disk_is_not_felt_in_the_main_loop);
    g_test_add_func("/journal/a-full-disk-fails-in-words-and-heals", full_disk_fails_in_words_and_heals);
    g_test_add_func("/journal/damage-in-use-starts-over", damage_in_use_starts_over);
    g_test_add_func("/journal/kill-loses-nothing-that-was-reported", kill_loses_nothing_that_was_reported);
    return g_test_run();
}
