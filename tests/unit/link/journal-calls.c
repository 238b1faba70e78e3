/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/link/journal-calls.h"
#include <string.h>

void outcome_clear(Outcome *outcome)
{
    g_clear_pointer(&outcome->intent, g_free);
    g_clear_pointer(&outcome->answer, g_free);
    g_clear_error(&outcome->error);
}
void on_found(JournalVerdict verdict, const char *intent, const char *answer, const GError *error,
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

void on_done(const GError *error, void *userdata)
{
    Outcome *outcome = userdata;
    g_assert_false(outcome->done);
    outcome->done = true;
    outcome->error = error ? g_error_copy(error) : NULL;
}

void digest_of(const char *text, guint8 digest[32])
{
    memset(digest, 0, 32);
    memcpy(digest, text, MIN(strlen(text), 32));
}

Journal *open_journal(const char *path)
{
    g_autoptr(GError) error = NULL;
    Journal *journal = journal_open(path, WINDOW, &error);
    g_assert_no_error(error);
    return journal;
}

Journal *reopen_journal(Journal *journal, const char *path)
{
    journal_close(journal);
    return open_journal(path);
}

char *new_path(void)
{
    g_autofree char *directory = test_directory();
    return g_build_filename(directory, "journal.sqlite", NULL);
}

Outcome look_up_at(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
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

JournalVerdict verdict_at(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
                          gint64 now)
{
    g_auto(Outcome) outcome = look_up_at(journal, siguuid, request, signing_time, now);
    g_assert_no_error(outcome.error);
    return outcome.verdict;
}

void intend(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
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

void answer(Journal *journal, const char *siguuid, const char *text)
{
    g_auto(Outcome) outcome = {0};
    journal_answer(journal, "aa", siguuid, text, on_done, &outcome);
    g_assert_false(outcome.done);
    test_wait(&outcome.done, 20);
    g_assert_no_error(outcome.error);
}

static void on_one_of_many(const GError *error, void *userdata)
{
    Many *many = userdata;
    many->failed += error != NULL;
    many->done = --many->waiting == 0;
}

Many intend_many(Journal *journal, guint count, const char *text)
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
