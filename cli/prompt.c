/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Plain questions in a plain terminal: no cursor movement, so that it works over a serial line and in a log.
 */

#include "cli/prompt.h"
#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As much as a pasted certificate or request can be. */
#define PASTE_LIMIT ((gsize)256 * 1024)

static void say(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        g_autofree char *printable = output_printable(lines[i]);
        fprintf(stderr, "%s%s", i > 0 ? "\n" : "", printable);
    }
    fflush(stderr);
}

void prompt_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    say(text);
    fputs("\n", stderr);
}

/* As it came, with its end. */
static char *read_raw_line(void)
{
    char *line = NULL;
    size_t size = 0;
    if (getline(&line, &size, stdin) < 0) {
        free(line);
        return NULL;
    }
    char *copy = g_strdup(line);
    free(line);
    return copy;
}

char *prompt_line(const char *question, const char *fallback)
{
    say(question);
    if (fallback && *fallback) {
        fputs(" [", stderr);
        say(fallback);
        fputs("]", stderr);
    }
    fputs(": ", stderr);
    fflush(stderr);
    char *line = read_raw_line();
    if (!line) {
        fputs("\n", stderr);
        return NULL;
    }
    g_strstrip(line);
    if (*line || !fallback)
        return line;
    g_free(line);
    return g_strdup(fallback);
}

char *prompt_file(const char *question, const char *fallback)
{
    char *line = prompt_line(question, fallback);
    if (!line || !g_str_has_prefix(line, "~/"))
        return line;
    char *file = g_build_filename(g_get_home_dir(), line + 2, NULL);
    g_free(line);
    return file;
}

char *prompt_file_or_pem(const char *question)
{
    char *line = prompt_file(question, NULL);
    if (!line || !g_str_has_prefix(line, "-----BEGIN "))
        return line;
    g_autoptr(GString) pem = g_string_new(line);
    g_free(line);
    g_string_append_c(pem, '\n');
    while (pem->len < PASTE_LIMIT) {
        g_autofree char *next = read_raw_line();
        if (!next)
            break;
        g_string_append(pem, next);
        if (strstr(next, "-----END "))
            break;
    }
    return g_strdup(pem->str);
}

bool prompt_yes_no(const char *question, bool fallback)
{
    g_autofree char *text = g_strdup_printf("%s (%s)", question, fallback ? "Y/n" : "y/N");
    for (;;) {
        g_autofree char *answer = prompt_line(text, NULL);
        if (!answer)
            return false;
        if (!*answer)
            return fallback;
        if (g_ascii_strcasecmp(answer, "y") == 0 || g_ascii_strcasecmp(answer, "yes") == 0)
            return true;
        if (g_ascii_strcasecmp(answer, "n") == 0 || g_ascii_strcasecmp(answer, "no") == 0)
            return false;
        prompt_say("Please answer y or n.");
    }
}

static int find_choice(const char *answer, const char *const *choices, int n)
{
    guint64 number = 0;
    /* The text first: a slot may be called "01". */
    for (int i = 0; i < n; i++)
        if (g_str_equal(choices[i], answer))
            return i;
    if (g_ascii_string_to_unsigned(answer, 10, 1, (guint64)n, &number, NULL))
        return (int)number - 1;
    return -1;
}

int prompt_choice(const char *question, const char *const *choices, int fallback)
{
    int n = (int)g_strv_length((GStrv)choices);
    for (int i = 0; i < n; i++)
        prompt_say("  %d) %s", i + 1, choices[i]);
    g_autofree char *number = fallback >= 0 ? g_strdup_printf("%d", fallback + 1) : NULL;
    for (;;) {
        g_autofree char *answer = prompt_line(question, number);
        if (!answer)
            return -1;
        int choice = find_choice(answer, choices, n);
        if (choice >= 0)
            return choice;
        prompt_say("Please answer with a number from 1 to %d.", n);
    }
}
