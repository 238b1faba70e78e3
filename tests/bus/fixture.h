/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A private system bus with the daemon on it.
 *
 * The bus is a real dbus-daemon with the rules of a system bus (nobody owns or calls anything that is not
 * allowed, and what org.pkiaas.IoTHSM.conf allows is read from that very file), on a socket in a folder of
 * its own. DBUS_SYSTEM_BUS_ADDRESS points this process and its children to it. The daemon is a child with its
 * own state.
 *
 * Everything runs on one sd-event: waiting here also serves connections of the test itself, so that a
 * stand-in for polkit can answer while the test waits for its call. Failures are assertions. */

#include "tests/bus/polkit-stand-in.h"
#include "tests/support/support.h"
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#define IOTHSM_NAME "org.pkiaas.IoTHSM"
#define IOTHSM_PATH "/org/pkiaas/IoTHSM"
#define MANAGER_INTERFACE "org.pkiaas.IoTHSM1.Manager"
#define TOKEN_INTERFACE "org.pkiaas.IoTHSM1.Token"
#define SLOT_INTERFACE "org.pkiaas.IoTHSM1.Slot"
#define AUTHORITY_INTERFACE "org.pkiaas.IoTHSM1.Authority"

/* nobody: a user who is neither root nor the daemon. */
#define OTHER_UID 65534

typedef struct Fixture Fixture;

/* The bus and a first client on it; no daemon yet. */
Fixture *fixture_new(void);
/* Ends the daemon (asserting exit status 0) and the bus. */
void fixture_free(Fixture *fixture);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fixture, fixture_free)

const char *fixture_address(const Fixture *fixture);
const char *fixture_directory(const Fixture *fixture);
sd_event *fixture_event(const Fixture *fixture);
sd_bus *fixture_client(const Fixture *fixture);
/* One more connection, served by the same loop. Transfer full: sd_bus_flush_close_unref. */
sd_bus *fixture_connect(Fixture *fixture);

/* Serves the loop until |condition|; the test fails after |seconds|. */
void fixture_wait(Fixture *fixture, bool (*condition)(void *userdata), void *userdata, guint seconds);
/* Serves the loop until |*flag|. */
void fixture_wait_flag(Fixture *fixture, const bool *flag, guint seconds);

/* Sends |call| (transfer full) from |client| and serves the loop until the answer; the test fails after 60 s.
 * NULL and |ret_error| for an error, which is an assertion with |ret_error| NULL. Transfer full. */
sd_bus_message *fixture_send(Fixture *fixture, sd_bus *client, sd_bus_message *call, sd_bus_error *ret_error);
/* The same for a call to the daemon from the first client. */
sd_bus_message *fixture_call(Fixture *fixture, const char *path, const char *interface, const char *member,
                             sd_bus_error *ret_error, const char *types, ...);
/* That call must fail with |error_name|; gives the text. Transfer full. */
char *fixture_refused(Fixture *fixture, const char *error_name, const char *path, const char *interface,
                      const char *member, const char *types, ...);

/* Properties of the daemon. Transfer full. */
char *fixture_get_string(Fixture *fixture, const char *path, const char *interface, const char *property);
/* Of type b, i, u or t. */
gint64 fixture_get_number(Fixture *fixture, const char *path, const char *interface, const char *property);
/* Serves the loop until that property is |value|. */
void fixture_wait_string(Fixture *fixture, const char *path, const char *interface, const char *property,
                         const char *value, guint seconds);
/* Object paths below |prefix| that GetManagedObjects lists with |interface|, sorted. Transfer full. */
GStrv fixture_objects(Fixture *fixture, const char *interface);

/* Starts |program| (a path, or NULL: $IOTHSMD_FAKE) with |config| as its configuration file and |arguments|
 * besides, |environment| as NULL-terminated name, value pairs, and waits until it says that it is ready.
 * State stays between starts. */
void fixture_start_daemon(Fixture *fixture, const char *program, const char *config,
                          const char *const *arguments, const char *const *environment);
/* SIGTERM, and the exit status must be 0. */
void fixture_stop_daemon(Fixture *fixture);
/* SIGKILL: what a power cut leaves. */
void fixture_kill_daemon(Fixture *fixture);
/* Ends the bus under the daemon, which must end, too; gives its exit status. What is left is fixture_free. */
int fixture_end_bus(Fixture *fixture);
/* Its process, 0 when it does not run. */
pid_t fixture_daemon_pid(const Fixture *fixture);
/* Before a start: what the daemon says from then on goes into a file instead of to the test's own stderr. */
void fixture_keep_log(Fixture *fixture);
/* All that it has said. Transfer full. */
char *fixture_log(const Fixture *fixture);
const char *fixture_state_directory(const Fixture *fixture);

/* Calls as user OTHER_UID (or as this one, with |uid| -1) from a process of its own: $BUS_CALLER. |arguments|
 * are strings; "@PATH" stands for an object path, "{}" for empty options, "%TEXT" for a descriptor that
 * delivers TEXT. Answers "ok" or "ERROR.NAME: text". Transfer full. */
char *fixture_call_as(Fixture *fixture, int uid, bool interactive, const char *destination, const char *path,
                      const char *interface, const char *member, const char *const *arguments);
/* Starts such a call and does not wait: end it with fixture_leave. Transfer full. */
GSubprocess *fixture_begin_call_as(Fixture *fixture, int uid, const char *destination, const char *path,
                                   const char *interface, const char *member, const char *const *arguments);
/* Kills that caller, waits for its end and frees it. */
void fixture_leave(Fixture *fixture, GSubprocess *caller);
/* Skips the running test with a message and answers false when processes of another user can't be made. */
bool fixture_has_other_user(void);

/* A secret as programs hand it over: a memfd sealed against change. The caller closes it. */
int fixture_secret(const char *text);

/* The stand-in for polkit on this bus, in |mode| from now on; there is one. */
Polkit *fixture_polkit(Fixture *fixture, PolkitMode mode);
