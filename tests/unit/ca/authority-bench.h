/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Authorities on tokens that live in memory: the set, what it reported, and work for it. Failures are
 * assertions. */

#include "daemon/ca/authority.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/ca/signing-fixture.h"
#include "tests/unit/token/fixture.h"

#define ONE_TOKEN "fake:serial=F1"
#define TWO_TOKENS "fake:serial=F1;fake:serial=F2"

typedef struct Bench {
    Fixture *tokens;
    AuthoritySet *set;
    guint added, removed, changed; /* reported */
    /* Of bench_new_with_authority; NULL otherwise. */
    EVP_PKEY *key;
    Slot *first, *second; /* on F1, and on F2 where there is one */
    Authority *authority;
} Bench;

Bench *bench_new(const char *specs);
/* And an authority whose key is on each of the tokens F1 and F2 that |specs| names. */
Bench *bench_new_with_authority(const char *specs);
void bench_free(Bench *bench);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bench, bench_free)

/* A new slot on |serial| with |key| in it. Transfer full. */
Slot *import_key(Bench *bench, const char *serial, EVP_PKEY *key);
void write_certificate(Slot *slot, X509 *certificate);
/* Both, and the set knows. Transfer full. */
Slot *slot_of(Bench *bench, const char *serial, EVP_PKEY *key, X509 *certificate);
void assert_seen(const Bench *bench, guint added, guint removed, guint changed);

/* Work without a deadline. */
AuthorityWork work_of(SlotKeyFunc run, void *data, DoneFunc done, void *userdata);

/* One signature with an authority's key. */
typedef struct Use {
    Ending ending;
    Signed *made;
} Use;

void use_clear(Use *use);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Use, use_clear)
bool use_start(Use *use, Authority *authority, GError **error);
/* The same, if it begins by |begin_by|. */
bool use_start_by(Use *use, Authority *authority, gint64 begin_by, GError **error);
/* Waits, and asserts that |key| verifies it. */
void use_finish(Use *use, EVP_PKEY *key);
/* Begins and ends. */
void assert_authority_signs(Authority *authority, EVP_PKEY *key);

void bench_hold(Bench *bench, const char *serial, bool hold);
/* |uses| of the authority that both tokens hold, one of them inside each. */
void bench_start_held(Bench *bench, Use *uses, guint count);
/* All of them, verified and cleared. */
void bench_finish(Bench *bench, Use *uses, guint count);
