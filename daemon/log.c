/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* With the target "auto" it is decided once where records go: to the journal, if stderr is connected to it
 * (services of systemd), else to stderr as one line with its fields behind the text. */

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
static atomic_int target = LOG_TARGET_AUTO;

static const char *const levels[] = {
    [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
    [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

static const char *const targets[] = {
    [LOG_TARGET_AUTO] = "auto",
    [LOG_TARGET_JOURNAL] = "journal",
    [LOG_TARGET_CONSOLE] = "console",
    [LOG_TARGET_NULL] = "null",
};

static int find_name(const char *const *names, gsize count, const char *text)
{
    for (gsize i = 0; i < count; i++)
        if (g_strcmp0(names[i], text) == 0)
            return (int)i;
    return -1;
}

void log_set_level(int priority)
{
    atomic_store(&level, priority);
}

int log_level(void)
{
    return atomic_load(&level);
}

bool log_level_from_string(const char *text, int *ret_priority)
{
    int found = find_name(levels, G_N_ELEMENTS(levels), text);
    if (found >= 0)
        *ret_priority = found;
    return found >= 0;
}

const char *log_level_to_string(int priority)
{
    return levels[priority];
}

void log_set_target(LogTarget wanted)
{
    atomic_store(&target, wanted);
}

LogTarget log_target(void)
{
    return atomic_load(&target);
}

bool log_target_from_string(const char *text, LogTarget *ret_target)
{
    int found = find_name(targets, G_N_ELEMENTS(targets), text);
    if (found >= 0)
        *ret_target = (LogTarget)found;
    return found >= 0;
}

const char *log_target_to_string(LogTarget wanted)
{
    return targets[wanted];
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

static LogTarget decide_target(void)
{
    static gsize decided = 0;
    if (log_target() != LOG_TARGET_AUTO)
        return log_target();
    if (g_once_init_enter(&decided))
        g_once_init_leave(&decided, stderr_is_journal() ? LOG_TARGET_JOURNAL : LOG_TARGET_CONSOLE);
    return (LogTarget)decided;
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
    add_field(vector, texts, "SYSLOG_IDENTIFIER", LOG_IDENTIFIER);
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
    g_autoptr(GString) line = g_string_new(LOG_IDENTIFIER ": ");
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
    LogTarget to = decide_target();
    if (priority > log_level() || to == LOG_TARGET_NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (to == LOG_TARGET_JOURNAL)
        write_journal(priority, message_id, fields, text);
    else
        write_stderr(priority, fields, text);
}
