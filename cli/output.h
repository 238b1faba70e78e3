/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes to stdout: text for people, or JSON for programs, never both.
 *
 * Text is collected and goes out at the end, through a pager where it is longer than the terminal; that is
 * also why nothing half-made is ever printed before an error. Everything that comes from outside (labels,
 * subjects) passes output_printable: no escape sequence of a certificate reaches a terminal. */

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdio.h>

typedef enum JsonMode { JSON_OFF, JSON_SHORT, JSON_PRETTY } JsonMode;

typedef struct Output Output;

Output *output_new(JsonMode json, bool pager, bool legend);
void output_free(Output *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Output, output_free)

/* True where the verb must answer in JSON. */
bool output_is_json(const Output *output);
JsonMode output_json_mode(const Output *output);

/* Takes |node|; NULL prints nothing. One document a run, except for `monitor`. */
void output_json(Output *output, JsonNode *node);
void output_text(Output *output, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* One line "Name: value" of a property sheet, names aligned to the right; left out where |value| is empty.
 * An empty name goes on with the field above. */
void output_field(Output *output, const char *name, const char *value);

/* Colour, where stdout is a terminal and nobody said NO_COLOR. */
typedef enum Emphasis {
    EMPHASIS_NONE,
    EMPHASIS_STRONG,
    EMPHASIS_GOOD,
    EMPHASIS_WARNING,
    EMPHASIS_BAD
} Emphasis;
/* The escape sequence that begins |emphasis|, or ""; transfer none. */
const char *output_begin(const Output *output, Emphasis emphasis);
const char *output_end(const Output *output);
/* How a state of a token, slot, authority or link should look. */
Emphasis output_emphasis_of_state(const char *state);

/* A table: column titles once, then rows of as many texts; cut to the terminal's width in the columns that
 * end with '>' in the title (the mark is not shown). */
typedef struct Table Table;
Table *table_new(const char *const *titles);
/* As many texts as there are titles. |emphasis| colours the column |state_column| (-1: none). */
void table_row(Table *table, const char *const *texts, int state_column, Emphasis emphasis);
/* Prints and frees. */
void output_table(Output *output, Table *table);

/* Writes out what was collected. False when stdout can't be written. */
bool output_flush(Output *output, GError **error);

/* What was collected, instead of writing it out. Transfer full. */
char *output_take_text(Output *output);

/* Transfer full: |text| as it may reach a terminal: valid UTF-8, control characters as \xNN, newlines too. */
char *output_printable(const char *text);

/* Transfer full: "2035-11-18 14:22:33 UTC (in 9 years)", |seconds| since the epoch; "" for 0. */
char *output_time(gint64 seconds);
/* Transfer full: "in 9 years", "3 minutes ago", |seconds| from now. */
char *output_distance(gint64 seconds);
char *output_date(gint64 seconds);
