/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an administrator reads in the journal: one record an event, with fields of its own and, for events
 * worth looking up, a MESSAGE_ID that data/iothsm.catalog explains.
 *
 * Where stderr is the journal, records go there with their fields; anywhere else a line on stderr says the
 * same. Safe from every thread. Leaf functions do not log: they return errors; the edges (main, manager,
 * link, bus handlers) log them once. */

#include <glib.h>
#include <stdbool.h>
#include <syslog.h>

typedef struct LogField {
    const char *name;  /* "IOTHSM_TOKEN"; NULL ends a list */
    const char *value; /* NULL: the field is left out */
} LogField;

/* SYSLOG_IDENTIFIER of every record. */
#define LOG_IDENTIFIER "iothsmd"

#define LOG_FIELDS(...) ((const LogField[]){__VA_ARGS__, {NULL, NULL}})

/* Records below |priority| (a syslog one) are dropped from now on; LOG_INFO at the start. */
void log_set_level(int priority);
int log_level(void);

/* syslog's names, "debug" to "emerg"; false for anything else. */
bool log_level_from_string(const char *text, int *ret_priority);
const char *log_level_to_string(int priority);

/* Where records go: org.freedesktop.LogControl1(5). AUTO, at the start: the journal where stderr is connected
 * to it, else stderr. */
typedef enum LogTarget { LOG_TARGET_AUTO, LOG_TARGET_JOURNAL, LOG_TARGET_CONSOLE, LOG_TARGET_NULL } LogTarget;
void log_set_target(LogTarget target);
LogTarget log_target(void);

/* "auto", "journal", "console", "null"; false for anything else. */
bool log_target_from_string(const char *text, LogTarget *ret_target);
const char *log_target_to_string(LogTarget target);

/* |message_id| is one of message-ids.h or NULL, |fields| ends with a NULL name or is NULL. */
void log_event(int priority, const char *message_id, const LogField *fields, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

#define log_debug(...) log_event(LOG_DEBUG, NULL, NULL, __VA_ARGS__)
#define log_info(...) log_event(LOG_INFO, NULL, NULL, __VA_ARGS__)
#define log_notice(...) log_event(LOG_NOTICE, NULL, NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_WARNING, NULL, NULL, __VA_ARGS__)
#define log_error(...) log_event(LOG_ERR, NULL, NULL, __VA_ARGS__)
