/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where a record goes is decided once: to the journal, if stderr is connected to it (sd_booted services),
 * else to stderr as one line with its fields behind the text. */

#include "daemon/log.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

static atomic_int level = LOG_INFO;

static const struct {
    const char *name;
    int priority;
} levels[] = {
    {"debug", LOG_DEBUG},     {"info", LOG_INFO}, {"notice", LOG_NOTICE},
    {"warning", LOG_WARNING}, {"err", LOG_ERR},
};

void log_set_level(int priority)
{
    atomic_store(&level, priority);
}

bool log_level_from_string(const char *text, int *ret_priority)
{
    for (gsize i = 0; i < G_N_ELEMENTS(levels); i++) {
        if (g_strcmp0(levels[i].name, text) == 0) {
            *ret_priority = levels[i].priority;
            return true;
        }
    }
    return false;
}

/* systemd.exec(5), $JOURNAL_STREAM: device and inode of the journal's stream, if stderr still is that stream.
 */
static bool stderr_is_journal(void)
{
    const char *stream = g_getenv("JOURNAL_STREAM");
    unsigned long long device = 0;
    unsigned long long inode = 0;
    struct stat status;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

static bool to_journal(void)
{
    static gsize decided = 0;
    if (g_once_init_enter(&decided))
        g_once_init_leave(&decided, stderr_is_journal() ? 1 : 2);
    return decided == 1;
}

static void add_field(GArray *vector, GPtrArray *texts, const char *name, const char *value)
{
    char *text = g_strdup_printf("%s=%s", name, value);
    g_ptr_array_add(texts, text);
    struct iovec entry = {.iov_base = text, .iov_len = strlen(text)};
    g_array_append_val(vector, entry);
}

static void write_journal(int priority, const char *message_id, const LogField *fields, const char *text)
{
    g_autoptr(GArray) vector = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    char number[4];

    g_snprintf(number, sizeof number, "%d", priority);
    add_field(vector, texts, "MESSAGE", text);
    add_field(vector, texts, "PRIORITY", number);
    add_field(vector, texts, "SYSLOG_IDENTIFIER", "iothsmd");
    if (message_id)
        add_field(vector, texts, "MESSAGE_ID", message_id);
    for (const LogField *field = fields; field && field->name; field++)
        if (field->value)
            add_field(vector, texts, field->name, field->value);
    (void)sd_journal_sendv((const struct iovec *)(void *)vector->data, (int)vector->len);
}

/* One write(2) per record, so that lines of several threads don't mix; control characters can't forge a line.
 */
static void write_stderr(int priority, const LogField *fields, const char *text)
{
    g_autoptr(GString) line = g_string_new("iothsmd: ");
    if (priority <= LOG_WARNING)
        g_string_append_printf(line, "%s: ", priority <= LOG_ERR ? "error" : "warning");
    g_string_append(line, text);
    for (const LogField *field = fields; field && field->name; field++)
        if (field->value)
            g_string_append_printf(line, " %s=%s", field->name, field->value);
    for (char *c = line->str; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    g_string_append_c(line, '\n');
    (void)!write(STDERR_FILENO, line->str, line->len);
}

void log_event(int priority, const char *message_id, const LogField *fields, const char *format, ...)
{
    if (priority > atomic_load(&level))
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (to_journal())
        write_journal(priority, message_id, fields, text);
    else
        write_stderr(priority, fields, text);
}
