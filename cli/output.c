/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Collects a verb's answer and writes it out once: JSON as one document, text with tables as wide as the
 * terminal, through a pager where it is longer. */

#include "cli/output.h"
#include <errno.h>
#include <gio/gio.h>
#include <libsmartcols.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_DEFAULT 80
#define FIELD_NAME_WIDTH 16

struct Output {
    JsonMode json;
    bool pager;
    bool legend;
    bool terminal;
    bool colour;
    unsigned columns;
    unsigned rows;
    GString *text;
};

struct Table {
    struct libscols_table *table;
    guint n_columns;
};

static void read_terminal_size(Output *output)
{
    struct winsize size = {0};
    output->columns = COLUMNS_DEFAULT;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return;
    if (size.ws_col > 0)
        output->columns = size.ws_col;
    output->rows = size.ws_row;
}

Output *output_new(JsonMode json, bool pager, bool legend)
{
    Output *output = g_new0(Output, 1);
    output->json = json;
    output->legend = legend;
    output->terminal = isatty(STDOUT_FILENO);
    output->pager = pager && output->terminal;
    output->text = g_string_new(NULL);
    const char *no_colour = g_getenv("NO_COLOR");
    output->colour =
        output->terminal && !(no_colour && *no_colour) && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
    if (output->terminal)
        read_terminal_size(output);
    return output;
}

void output_free(Output *output)
{
    if (!output)
        return;
    g_string_free(output->text, TRUE);
    g_free(output);
}

bool output_is_json(const Output *output)
{
    return output->json != JSON_OFF;
}

JsonMode output_json_mode(const Output *output)
{
    return output->json;
}

void output_json(Output *output, JsonNode *node)
{
    if (!node)
        return;
    g_autofree char *text = json_to_string(node, output->json == JSON_PRETTY);
    g_string_append(output->text, text);
    g_string_append_c(output->text, '\n');
    json_node_unref(node);
}

void output_text(Output *output, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_string_append_vprintf(output->text, format, arguments);
    va_end(arguments);
}

void output_field(Output *output, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    g_autofree char *printable = output_printable(value);
    output_text(output, "%*s%c %s\n", FIELD_NAME_WIDTH, name, *name ? ':' : ' ', printable);
}

const char *output_begin(const Output *output, Emphasis emphasis)
{
    static const char *const sequences[] = {
        [EMPHASIS_NONE] = "",         [EMPHASIS_STRONG] = "\033[1m",
        [EMPHASIS_GOOD] = "\033[32m", [EMPHASIS_WARNING] = "\033[33m",
        [EMPHASIS_BAD] = "\033[31m",
    };
    return output->colour ? sequences[emphasis] : "";
}

const char *output_end(const Output *output)
{
    return output->colour ? "\033[0m" : "";
}

Emphasis output_emphasis_of_state(const char *state)
{
    static const char *const good[] = {"ready", "connected", "provisioned", "set", "not-needed", NULL};
    static const char *const bad[] = {"failed", "wrong", "blocked", "mismatch", "unregistered", "gone", NULL};
    static const char *const plain[] = {"starting", "attestation", "none", "", NULL};
    if (g_strv_contains(good, state))
        return EMPHASIS_GOOD;
    if (g_strv_contains(bad, state))
        return EMPHASIS_BAD;
    return g_strv_contains(plain, state) ? EMPHASIS_NONE : EMPHASIS_WARNING;
}

Table *table_new(const char *const *titles)
{
    Table *table = g_new0(Table, 1);
    table->table = scols_new_table();
    g_assert(table->table);
    for (; titles[table->n_columns]; table->n_columns++) {
        g_autofree char *title = g_strdup(titles[table->n_columns]);
        bool shrinks = g_str_has_suffix(title, ">");
        if (shrinks)
            title[strlen(title) - 1] = '\0';
        g_assert(scols_table_new_column(table->table, title, 0, shrinks ? SCOLS_FL_TRUNC : 0));
    }
    return table;
}

void table_row(Table *table, const char *const *texts, int state_column, Emphasis emphasis)
{
    static const char *const colours[] = {
        [EMPHASIS_NONE] = NULL,        [EMPHASIS_STRONG] = "bold", [EMPHASIS_GOOD] = "green",
        [EMPHASIS_WARNING] = "yellow", [EMPHASIS_BAD] = "red",
    };
    struct libscols_line *line = scols_table_new_line(table->table, NULL);
    g_assert(line);
    for (guint i = 0; i < table->n_columns; i++) {
        g_autofree char *printable = output_printable(texts[i]);
        scols_line_set_data(line, i, printable);
    }
    if (state_column >= 0 && colours[emphasis])
        scols_cell_set_color(scols_line_get_cell(line, (size_t)state_column), colours[emphasis]);
}

void output_table(Output *output, Table *table)
{
    scols_table_enable_noheadings(table->table, !output->legend);
    scols_table_enable_colors(table->table, output->colour);
    scols_table_set_termforce(table->table,
                              output->terminal ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
    if (output->terminal)
        scols_table_set_termwidth(table->table, output->columns);
    char *text = NULL;
    if (!scols_table_is_empty(table->table) && scols_print_table_to_string(table->table, &text) == 0 &&
        text) {
        g_string_append(output->text, text);
        if (*text && !g_str_has_suffix(text, "\n"))
            g_string_append_c(output->text, '\n');
    }
    free(text);
    scols_unref_table(table->table);
    g_free(table);
}

static unsigned count_lines(const char *text)
{
    unsigned lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    return lines;
}

/* False where there is no pager to be had; the caller then writes by itself. */
static bool write_to_pager(const GString *text)
{
    const char *pager = g_getenv("PAGER");
    if (pager && (!*pager || g_str_equal(pager, "cat")))
        return false;
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE);
    g_subprocess_launcher_setenv(launcher, "LESS", "FRX", FALSE);
    g_subprocess_launcher_setenv(launcher, "LESSSECURE", "1", TRUE);
    const char *const by_shell[] = {"sh", "-c", pager, NULL};
    const char *const less[] = {"less", NULL};
    g_autoptr(GSubprocess) child = g_subprocess_launcher_spawnv(launcher, pager ? by_shell : less, NULL);
    if (!child)
        return false;
    /* A pager that is left before the end closes the pipe: that is what people do, not an error. */
    g_autoptr(GBytes) bytes = g_bytes_new_static(text->str, text->len);
    g_subprocess_communicate(child, bytes, NULL, NULL, NULL, NULL);
    return true;
}

static bool write_all(const char *data, gsize size, GError **error)
{
    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                        "Writing to the standard output failed: %s", g_strerror(errno));
            return false;
        }
        data += n;
        size -= (gsize)n;
    }
    return true;
}

bool output_flush(Output *output, GError **error)
{
    bool paged = output->pager && output->json == JSON_OFF && output->rows > 0 &&
                 count_lines(output->text->str) >= output->rows && write_to_pager(output->text);
    bool ok = paged || write_all(output->text->str, output->text->len, error);
    g_string_truncate(output->text, 0);
    return ok;
}

char *output_take_text(Output *output)
{
    char *text = g_strdup(output->text->str);
    g_string_truncate(output->text, 0);
    return text;
}

char *output_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
    GString *printable = g_string_new(NULL);
    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar character = g_utf8_get_char(at);
        GUnicodeType type = g_unichar_type(character);
        /* Format characters include the ones that turn the direction of the text around. */
        if (type == G_UNICODE_CONTROL || type == G_UNICODE_FORMAT || type == G_UNICODE_LINE_SEPARATOR ||
            type == G_UNICODE_PARAGRAPH_SEPARATOR)
            g_string_append_printf(printable, character < 0x100 ? "\\x%02x" : "\\u%04x", character);
        else
            g_string_append_unichar(printable, character);
    }
    return g_string_free(printable, FALSE);
}

char *output_date(gint64 seconds)
{
    if (seconds == 0)
        return g_strdup("");
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    return time ? g_date_time_format(time, "%Y-%m-%d") : g_strdup("");
}

char *output_distance(gint64 seconds)
{
    static const struct {
        gint64 seconds;
        gint64 minimum; /* fewer are said in the next smaller unit: "18 months", "80 days" */
        const char *name;
    } units[] = {
        {365 * 86400, 2, "year"}, {30 * 86400, 4, "month"}, {86400, 2, "day"},
        {3600, 2, "hour"},        {60, 2, "minute"},        {1, 0, "second"},
    };
    gint64 amount = ABS(seconds);
    for (guint i = 0; i < G_N_ELEMENTS(units); i++) {
        gint64 n = amount / units[i].seconds;
        if (n < units[i].minimum)
            continue;
        const char *plural = n == 1 ? "" : "s";
        if (seconds < 0)
            return g_strdup_printf("%" G_GINT64_FORMAT " %s%s ago", n, units[i].name, plural);
        return g_strdup_printf("in %" G_GINT64_FORMAT " %s%s", n, units[i].name, plural);
    }
    return g_strdup("now");
}

char *output_time(gint64 seconds)
{
    if (seconds == 0)
        return g_strdup("");
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    if (!time)
        return g_strdup("");
    g_autofree char *text = g_date_time_format(time, "%Y-%m-%d %H:%M:%S UTC");
    g_autofree char *away = output_distance(seconds - g_get_real_time() / G_USEC_PER_SEC);
    return g_strdup_printf("%s (%s)", text, away);
}
