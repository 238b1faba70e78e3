/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* iothsmctl run as people and programs run it: with pipes, or on a terminal that answers its questions.
 * $IOTHSMCTL is the program. Failures are assertions. */

#include "tests/bus/fixture.h"
#include <json-glib/json-glib.h>

typedef struct Run {
    int status;
    char *out;
    char *err;
} Run;

void run_free(Run *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Run, run_free)

/* |line| is split at blanks; "$1" to "$9" stand for the |...| texts, up to NULL, which are not split. No
 * terminal; stdin is empty. Transfer full. */
Run *run_iothsmctl(const char *line, ...) G_GNUC_NULL_TERMINATED;
/* The same with |input| on stdin, and as user |uid| (-1: this one). */
Run *run_iothsmctl_as(int uid, const char *input, const char *line, ...) G_GNUC_NULL_TERMINATED;

/* The same with any program: |words| (NULL-terminated), then those of |line|. */
Run *run_program(const char *const *words, const char *line, va_list texts);

/* Only starts it, with a pipe for stdout. Transfer full. */
GSubprocess *begin_program(const char *const *words, const char *line, va_list texts);

/* The exit status is |status|; otherwise the test fails and shows what was said. */
void assert_run(Run *run, int status);
/* What stdout holds is one JSON document. Transfer full. */
JsonNode *run_json(Run *run);
/* The member |path| ("error.name") of a document, as text. Transfer full. */
char *json_text(JsonNode *node, const char *path);

/* On a terminal of |columns| columns. */
typedef struct Terminal Terminal;
Terminal *terminal_new(guint columns, const char *const *environment, const char *line,
                       ...) G_GNUC_NULL_TERMINATED;
/* The same with another height than the usual 200 rows. */
Terminal *terminal_new_of(guint columns, guint rows, const char *const *environment, const char *line,
                          ...) G_GNUC_NULL_TERMINATED;
/* Reads until |text| appears behind what was matched before. */
void terminal_expect(Terminal *terminal, const char *text);
void terminal_type(Terminal *terminal, const char *text);
/* Reads to the end of the program, whose exit status must be |status|; gives all that was on the screen.
 * Transfer full. */
char *terminal_finish(Terminal *terminal, int status);
/* The program must end by the signal |number|. */
void terminal_finish_by_signal(Terminal *terminal, int number);
