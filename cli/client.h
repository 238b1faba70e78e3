/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way to the daemon: one connection to the system bus, opened at the first call.
 *
 * Calls have no time limit (a card may need minutes for a key, a touch needs a finger); what runs meanwhile
 * is shown on a terminal. An error of the bus becomes a GError with its exit status. On a terminal a polkit
 * agent in text form is started before the first call that may need a password, unless the user said
 * --no-ask-password. */

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_message, sd_bus_message_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_slot, sd_bus_slot_unref)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(sd_bus_error, sd_bus_error_free)

#define BUS_NAME "org.pkiaas.IoTHSM"
#define BUS_ROOT "/org/pkiaas/IoTHSM"
#define BUS_MANAGER "org.pkiaas.IoTHSM1.Manager"
#define BUS_TOKEN "org.pkiaas.IoTHSM1.Token"
#define BUS_SLOT "org.pkiaas.IoTHSM1.Slot"
#define BUS_AUTHORITY "org.pkiaas.IoTHSM1.Authority"

typedef struct Client Client;

/* |ask|: passwords may be asked for. |quiet|: no progress on stderr. */
Client *client_new(bool ask, bool quiet);
void client_free(Client *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Client, client_free)

/* May the user be asked for secrets, wherever a terminal is to be found? */
bool client_is_asking(const Client *client);
/* The same, and questions and answers can pass through stdin and stderr. */
bool client_may_ask(const Client *client);
bool client_is_quiet(const Client *client);

/* From now on: no time for a service that has to be started or that does not answer at once. For completion.
 */
void client_be_brief(Client *client);

/* The connection. Transfer none; NULL with CLI_ERROR_NOT_REACHABLE. */
sd_bus *client_bus(Client *client, GError **error);

/* A call to be filled with sd_bus_message_append. Transfer full. */
sd_bus_message *client_message(Client *client, const char *path, const char *interface, const char *method,
                               GError **error);

/* Sends |call| and waits for its answer. Transfer full. */
sd_bus_message *client_call(Client *client, sd_bus_message *call, GError **error);

/* The same for work on the token at |token_path|: shows what it is doing. */
sd_bus_message *client_call_token(Client *client, sd_bus_message *call, const char *token_path,
                                  GError **error);

/* client_message, append, client_call in one. |types| and what follows as in sd_bus_message_append. Transfer
 * full. */
sd_bus_message *client_query(Client *client, const char *path, const char *interface, const char *method,
                             GError **error, const char *types, ...);
/* The same for a method that changes something, which may want a password: the agent is started first. */
sd_bus_message *client_invoke(Client *client, const char *path, const char *interface, const char *method,
                              GError **error, const char *types, ...);

/* For a negative errno of an sd-bus function; |what| was tried. */
void client_set_error(GError **error, int code, const char *what);
/* For the error that an answer carries. */
void client_set_bus_error(GError **error, const sd_bus_error *bus_error);

/* The single string, or the single object path, of |reply|. Transfer full. */
char *client_read_text(sd_bus_message *reply, GError **error);
char *client_read_path(sd_bus_message *reply, GError **error);
/* The same, which is JSON. Transfer full. */
JsonNode *client_read_json(sd_bus_message *reply, GError **error);
