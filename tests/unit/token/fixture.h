/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A source with its tokens, as the manager would hold them, and the asynchronous calls made to wait. */

#include "daemon/error.h"
#include "daemon/token/slot.h"
#include "tests/support/support.h"

typedef struct Fixture {
    char *directory;
    Sealing *sealing;
    PinStore *store;
    Source *source;
    GPtrArray *tokens; /* Token */
    guint changed, slots_added, slots_removed, slots_changed;
    bool busy_seen; /* an operation was shown */
} Fixture;

/* Takes |source|, starts it, and starts every token it reports. */
Fixture *fixture_new(Source *source, bool sealing_key);
/* The same over the PINs of an earlier one. */
Fixture *fixture_new_in(Source *source, const char *directory, bool sealing_key);
/* Closes the tokens; the source too. */
void fixture_free(Fixture *fixture);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fixture, fixture_free)

/* Asserts that it is there and out of "starting". */
Token *fixture_token(Fixture *fixture, const char *serial);
void fixture_reload(Fixture *fixture);

/* How an asynchronous call ended. */
typedef struct Ending {
    bool done;
    GError *error;
    char *text;
} Ending;

void ending_clear(Ending *ending);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ending, ending_clear)
void ending_done(const GError *error, void *ending);
void ending_text(const char *text, const GError *error, void *ending);
/* Waits; then success, or the error |code|. */
void ending_ok(Ending *ending);
void ending_fails(Ending *ending, IothsmError code);

Secret *secret_of(const char *text);
void set_pin(Token *token, const char *pin);
/* Transfer full: the slot's name. */
char *generate(Token *token, const char *slot, KeyType type);

/* A signature by |slot|'s key, made on the worker, over a fixed message. */
typedef struct Signed {
    gint references;
    unsigned char bytes[1024];
    size_t size;
} Signed;
bool sign_message(EVP_PKEY *key, void *signed_by, GError **error);
/* Signs, and asserts that |public_key| (NULL: the slot's) verifies it. */
void assert_signs(Slot *slot, EVP_PKEY *public_key);
bool verifies(EVP_PKEY *public_key, const Signed *made);
