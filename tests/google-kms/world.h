/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What exists in this Google Cloud: projects with key rings with keys with versions, and accounts with what
 * they may do. It is kept in DIRECTORY/world.json and is the same after a restart. RSA keys take their time
 * to be made, so each is made when somebody first wants it, and the accounts share one. */

#include "tests/google-kms/algorithm.h"

#define WORLD_PROJECT "home-pki"
#define WORLD_RING "projects/home-pki/locations/europe-west3/keyRings/authorities"

typedef struct KeyVersion {
    char *name; /* projects/…/cryptoKeyVersions/1 */
    const Algorithm *algorithm;
    char *state;   /* "ENABLED" "DISABLED" "DESTROYED" "DESTROY_SCHEDULED" "PENDING_GENERATION" */
    EVP_PKEY *key; /* NULL: not wanted yet */
} KeyVersion;

typedef struct CryptoKey {
    char *name; /* projects/…/cryptoKeys/NAME */
    char *protection;
    GPtrArray *versions; /* KeyVersion */
} CryptoKey;

typedef struct Account {
    char *name; /* "signer" */
    char *email;
    char *key_id;
    EVP_PKEY *key;
    GStrv grants; /* a role or a permission each, "@PREFIX" behind it: only on resources below */
} Account;

typedef struct World {
    char *path;
    GPtrArray *projects; /* char: ids */
    GPtrArray *rings;    /* char: names */
    GPtrArray *keys;     /* CryptoKey */
    GPtrArray *accounts; /* Account */
} World;

/* Reads what DIRECTORY has, or makes a world with |accounts| ("NAME:GRANT,GRANT…"), |rings| (names) and
 * |keys| ("NAME=ALGORITHM[/PROTECTION]", NAME alone in WORLD_RING, or a whole name); NULL for each: the usual
 * ones. Each account's service-account key file, for |url|, is written to DIRECTORY/NAME.json. */
World *world_open(const char *directory, const char *url, const char *const *accounts,
                  const char *const *rings, const char *const *keys, GError **error);
void world_free(World *world);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(World, world_free)
void world_save(World *world);

/* NULL where there is none. */
CryptoKey *world_key(World *world, const char *name);
KeyVersion *world_version(World *world, const char *name);
bool world_has_ring(World *world, const char *name);
Account *world_account_by_name(World *world, const char *name);
Account *world_account_by_email(World *world, const char *email);

/* "p256" and "p256/1" are those of WORLD_RING; whole names stay. Transfer full. */
char *world_whole_name(const char *name);

CryptoKey *world_add_key(World *world, const char *spec, GError **error);
/* A new version, enabled. |algorithm| NULL: as the last one. */
KeyVersion *world_rotate(CryptoKey *key, const Algorithm *algorithm);
/* Transfer none. */
EVP_PKEY *world_version_key(World *world, KeyVersion *version);

/* Whether |account| has |permission| on |resource|. */
bool account_may(const Account *account, const char *permission, const char *resource);
/* Whether there is such a permission at all. */
bool permission_exists(const char *permission);
