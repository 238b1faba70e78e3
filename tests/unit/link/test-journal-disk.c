/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The journal and its disk: what survives kill -9, the shared fsync, and a slow, full or damaged disk that
 * must not be felt in the main loop. */

#include "daemon/error.h"
#include "tests/unit/link/disk.h"
#include "tests/unit/link/journal-calls.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *program;

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
    journal = reopen_journal(journal, path);
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
    g_test_add_func("/journal/requests-that-arrive-together-share-an-fsync",
                    requests_that_arrive_together_share_an_fsync);
    g_test_add_func("/journal/a-slow-disk-is-not-felt-in-the-main-loop",
                    slow_disk_is_not_felt_in_the_main_loop);
    g_test_add_func("/journal/a-full-disk-fails-in-words-and-heals", full_disk_fails_in_words_and_heals);
    g_test_add_func("/journal/damage-in-use-starts-over", damage_in_use_starts_over);
    g_test_add_func("/journal/kill-loses-nothing-that-was-reported", kill_loses_nothing_that_was_reported);
    return g_test_run();
}
