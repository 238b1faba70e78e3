/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a transport said, in order, one word each: "state:connected" "subscribed:c1" "lost" "refused:c1:token"
 * "message:c1:ID" (the type where the id can't be resumed from) "published" "too-large" "dropped" "left". */

#include "daemon/link/transport/transport.h"

typedef struct Heard {
    GPtrArray *words; /* char * */
    char *message;    /* of the last state */
    gint64 next_attempt;
} Heard;

Heard *heard_new(void);
void heard_free(Heard *heard);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Heard, heard_free)

/* The events and the function for publishing that note everything in |heard|. */
TransportEvents heard_events(Heard *heard);
void heard_published(TransportOutcome outcome, const char *reason, void *heard);

guint heard_times(const Heard *heard, const char *word);
/* Until |word| was said |times| times; the test fails after 20 s. */
void heard_wait(const Heard *heard, const char *word, guint times);
