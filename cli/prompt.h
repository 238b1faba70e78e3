/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Questions to a person: asked on stderr, answered on stdin. Only for use where client_may_ask() says yes.
 * Secrets are not asked for here but by secret-input. */

#include <glib.h>
#include <stdbool.h>

/* One line without its end and without blanks around; |fallback| for an empty one (NULL: ""). NULL when the
 * input ended. Transfer full. */
char *prompt_line(const char *question, const char *fallback);

/* The same for the name of a file, in which "~/" is the home directory. */
char *prompt_file(const char *question, const char *fallback);

/* As prompt_file; an answer that begins a PEM block goes on to its end. */
char *prompt_file_or_pem(const char *question);

bool prompt_yes_no(const char *question, bool fallback);

/* Shows |choices| with numbers and takes a number, or the text of a choice; |fallback| is what an empty line
 * means. -1 when the input ended. */
int prompt_choice(const char *question, const char *const *choices, int fallback);

/* A remark between two questions. */
void prompt_say(const char *format, ...) G_GNUC_PRINTF(1, 2);
