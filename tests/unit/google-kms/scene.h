/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A Google Cloud of one's own and a daemon's source of key rings before it, on the daemon's main thread; what
 * a key ring signs is a certificate. Failures are assertions. */

#include "daemon/ca/issue.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/google-kms.h"
#include "tests/google-kms/test/google-cloud.h"
#include "tests/unit/token/fixture.h"

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"
#define SERIAL "home-pki:europe-west3:authorities"
#define RESET_COUNTS "{'do': 'reset-counts'}"

typedef struct Scene {
    char *directory; /* of the daemon */
    GoogleCloud *cloud;
    Sealing *sealing;
    Fixture *fixture;
} Scene;

/* Options of a cloud with one key, "p256", which is enough for most. */
extern const char *const one_key[];

/* The cloud with |options|, and the source without a key ring. */
void scene_open(Scene *scene, const char *const *options);
/* And RING in it, which the account "signer" may use. */
Token *scene_open_with_ring(Scene *scene, const char *const *options);
void scene_clear(Scene *scene);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scene, scene_clear)

/* The daemon's side alone ends and starts again, over the same state directory. */
void scene_stop(Scene *scene);
void scene_start(Scene *scene);
/* Both, with |tell| for the cloud in between; gives the token that is RING. */
Token *scene_restart(Scene *scene, const char *tell);
void scene_reload(Scene *scene, Token *token);

/* The next call to |at| goes wrong: |how| is the rest of a "fault" command of the cloud, in single quotes. */
void scene_fault(Scene *scene, const char *at, const char *how);

/* The key file of "signer", "viewer", … Transfer full. */
Secret *scene_credentials(const Scene *scene, const char *account);
/* RING becomes a token. |account| NULL: with the machine's own account. */
Token *scene_add_ring(Scene *scene, const char *account);
Token *scene_token(const Scene *scene);
/* Asserts that it is there. */
Slot *slot_of(Token *token, const char *name);

/* One signature on its way. */
typedef struct Job {
    X509 *certificate; /* to be signed */
    Ending ending;
} Job;

void job_start(Job *job, Slot *slot, gint64 milliseconds);
void job_clear(Job *job);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Job, job_clear)
/* Waits, and asserts that |slot|'s public key verifies it. */
void job_ok(Job *job, Slot *slot);

void assert_slot_signs(Slot *slot);
/* Gives the sentence. Transfer full. */
char *assert_fails_within(Slot *slot, gint64 milliseconds, IothsmError code);
void assert_says(const char *sentence, const char *words);
/* Of which |slot|'s key signed one with another key in it. Transfer full. */
X509 *certificate_by(Slot *slot);
