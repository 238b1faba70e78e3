/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A scene: the daemon as it is installed, SoftHSM2 below it, the platform stand-in across a real WebSocket,
 * and iothsmctl as the only hand that sets things up. Everything lies in folders of its own and listens on
 * ports that the system chose, so that many scenes can play at once. Failures are assertions.
 *
 * Programs come from $IOTHSMD, $IOTHSMCTL and $IOTHSM_PLATFORM. A |line| is split at blanks; "$1" to "$9"
 * stand for the |...| texts. */

#include "tests/cli/run.h"

/* The PIN of every token of every scene. */
#define SCENE_PIN "271828"

typedef struct Scene Scene;

/* A platform that runs with |serve| besides its folder ("" for nothing), and a bus; no daemon yet. */
Scene *scene_new(const char *serve);
void scene_free(Scene *scene);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)

/* Before scene_start: the daemon gets a key to seal PINs with. */
void scene_give_sealing_key(Scene *scene);
void scene_take_sealing_key(Scene *scene);
/* What makes a daemon use this platform, and |limits| (or NULL). Transfer full. */
char *scene_configuration(const Scene *scene, const char *limits);
/* Starts the daemon, which trusts the platform. |limits| is more configuration, may be NULL; |environment| as
 * NULL-terminated name, value pairs, may be NULL. It remembers both for the next start. */
void scene_start(Scene *scene, const char *limits, const char *const *environment);
/* The same once more, after scene_stop or fixture_kill_daemon. */
void scene_start_again(Scene *scene);
/* The one that plays, with everything that |scene_new|, |scene_start| and scene_token give. */
Scene *scene_begin(void);

Fixture *scene_fixture(Scene *scene);
/* Where it keeps its files, and the path of one of them. Transfer full. */
char *scene_path(const Scene *scene, const char *name);
char *scene_write(const Scene *scene, const char *name, const char *text);
const char *scene_platform_directory(const Scene *scene);
const char *scene_pin_file(const Scene *scene);

/* Runs the stand-in's client, whose exit status must be |status|; gives its stdout. Transfer full. */
char *scene_platform(Scene *scene, int status, const char *line, ...) G_GNUC_NULL_TERMINATED;
/* The same, with its stderr. */
Run *scene_run_platform(Scene *scene, const char *line, ...) G_GNUC_NULL_TERMINATED;
/* Starts the client and comes back at once; the end of it is scene_end's. Transfer full. */
GSubprocess *scene_begin_platform(Scene *scene, const char *line, ...) G_GNUC_NULL_TERMINATED;
/* Waits for it: its exit status must be |status|; gives its stdout. Takes |child|. Transfer full. */
char *scene_end(Scene *scene, GSubprocess *child, int status);
/* A counter of the stand-in. */
gint64 scene_counter(Scene *scene, const char *name);
/* What the stand-in has to complain about must be nothing. */
void scene_assert_no_complaints(Scene *scene);
void scene_stop_platform(Scene *scene);
/* With the same folder and port, which only one in its place can do. */
void scene_restart_platform(Scene *scene);

/* Runs iothsmctl, whose exit status must be 0; gives its stdout. Transfer full. */
char *scene_control(const char *line, ...) G_GNUC_NULL_TERMINATED;
/* What it prints with --json, a member of which has the path |member| ("tokens.0.state"). Transfer full. */
char *scene_control_member(const char *member, const char *line, ...) G_GNUC_NULL_TERMINATED;

/* Makes a SoftHSM2 token and gives the daemon its PIN. */
void scene_token(Scene *scene, const char *label);
/* Has a root CA made: at the platform, on |place| (TOKEN or TOKEN/SLOT), back at the platform, and connected.
 * Gives the path of its certificate. Transfer full. */
char *scene_root(Scene *scene, const char *name, const char *place, const char *type);
/* Registers |certificate_file| at the platform as |name|, and waits until the daemon is connected for it. */
void scene_register(Scene *scene, const char *name, const char *certificate_file);
/* Until an agent has the channel of |name| and the daemon says so. */
void scene_wait_connected(Scene *scene, const char *name);

/* Signs one certificate, judged by the openssl command too; gives its serial number. Transfer full. */
char *scene_sign(Scene *scene, const char *ca);
/* send-raw: the inner JSON of the answer must be success:false with |message|. */
void scene_assert_refused(Scene *scene, const char *message, const char *line, ...) G_GNUC_NULL_TERMINATED;
/* send-raw must stay without an answer. */
void scene_assert_silence(Scene *scene, const char *line, ...) G_GNUC_NULL_TERMINATED;
/* The daemon is the process that it was, and still signs. */
void scene_assert_works(Scene *scene, const char *ca);
/* The number of certificates, CRLs and CMS messages that the daemon has signed since it was started. */
gint64 scene_signatures(Scene *scene);
/* The daemon has said, or says within 20 s, |text|. */
void scene_wait_log(Scene *scene, const char *text);
