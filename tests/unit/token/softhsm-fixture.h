/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* SoftHSM2 itself, with a configuration of the process's own. Each test makes its own token, so that none
 * sees another's. */

#include "daemon/token/pkcs11/pkcs11-token.h"
#include "daemon/token/pkcs11/pkcs11.h"
#include "tests/unit/token/fixture.h"

#define PIN "123456"
#define SO_PIN "87654321"

/* Before the first test. False, and said so in TAP, where there is no SoftHSM2. */
bool softhsm_test_prepare(void);
const char *softhsm_module(void);
/* The module's own functions, which all who have loaded it share, and its slots (CK_SLOT_ID). */
CK_FUNCTION_LIST *softhsm_functions(GArray **ret_slots);

Fixture *softhsm_fixture(void);
/* Gives its serial. Transfer full. */
char *create_token(Fixture *fixture, const char *label);
void delete_token(Fixture *fixture, const char *serial);

/* A source with a token of the test's own in it, deleted at the end. */
typedef struct SoftToken {
    Fixture *fixture;
    char *serial;
} SoftToken;

Token *soft_token_new(SoftToken *soft, const char *label);
/* And its PIN is given. */
Token *soft_token_ready(SoftToken *soft, const char *label);
/* The source starts over, over the same PINs; |softhsm| as for pkcs11_source_new. */
Token *soft_token_restart(SoftToken *soft, bool softhsm);
void soft_token_delete(SoftToken *soft);
void soft_token_clear(SoftToken *soft);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SoftToken, soft_token_clear)

/* As another program does it, in the middle of our work: the sessions are lost, and PIN is another one. */
void change_pin_elsewhere(const SoftToken *soft, const char *new_pin);
/* PIN is given, and kept for the next start. */
void keep_pin(Token *token);
void refresh(Token *token);
void clear(Slot *slot);
