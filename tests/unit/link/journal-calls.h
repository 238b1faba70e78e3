/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls to a journal that are waited for; the authority is "aa". */

#include "daemon/link/journal/journal.h"
#include "tests/support/support.h"

enum { DAY = 86400, WINDOW = 30 * DAY, NOW = 1800000000 };

/* What became of one call. */
typedef struct Outcome {
    bool done;
    JournalVerdict verdict;
    char *intent;
    char *answer;
    GError *error;
} Outcome;

void outcome_clear(Outcome *outcome);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_clear)
/* The journal's answers to it. */
void on_found(JournalVerdict verdict, const char *intent, const char *answer, const GError *error,
              void *userdata);
void on_done(const GError *error, void *userdata);

/* In a folder of its own. Transfer full. */
char *new_path(void);
Journal *open_journal(const char *path);
/* Closes it and opens it again: the daemon has started over. */
Journal *reopen_journal(Journal *journal, const char *path);
/* A request's digest: told apart by its first 32 characters. */
void digest_of(const char *text, guint8 digest[32]);

Outcome look_up_at(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
                   gint64 now);
JournalVerdict verdict_at(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
                          gint64 now);
void intend(Journal *journal, const char *siguuid, const char *request, gint64 signing_time,
            const char *intent);
void answer(Journal *journal, const char *siguuid, const char *text);

/* Intents that are all queued at once. */
typedef struct Many {
    guint waiting;
    bool done;
    guint failed;
} Many;

Many intend_many(Journal *journal, guint count, const char *text);
