/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The plan that `provision` makes before it does anything: which slot, which key, which template, and what
 * becomes of them. It is filled from the options and, on a terminal, by asking for what they leave open; then
 * it is shown, and then carried out. */

#include "cli/acts.h"

/* What a person should know before a CA gets such a key. */
#define PLAN_TOUCH_ALWAYS                                                                                    \
    "With the touch policy \"always\" the CA needs a touch for its channel certificate every few minutes "   \
    "and\n"                                                                                                  \
    "before every offer, besides one for each signature: it works only while somebody sits there. With\n"    \
    "\"cached\" one touch counts for 15 seconds."

typedef enum KeyPlan {
    KEY_PLAN_OPEN,
    KEY_PLAN_KEEP, /* the slot has one */
    KEY_PLAN_GENERATE,
    KEY_PLAN_IMPORT,
} KeyPlan;

typedef enum CertificatePlan {
    CERTIFICATE_PLAN_OPEN,
    CERTIFICATE_PLAN_SELF_SIGN,
    CERTIFICATE_PLAN_REQUEST,
    CERTIFICATE_PLAN_IMPORT,
} CertificatePlan;

typedef struct Plan {
    InventoryToken *token;
    InventorySlot *slot; /* NULL: a free one, by name */
    char *slot_name;     /* "": the first free one */
    KeyPlan key;
    char *key_type;
    char *key_file;
    CertificatePlan certificate;
    char *pem;         /* the template, or the certificate to import */
    char *output_file; /* where the certificate or request goes; NULL or "-": stdout */
    bool guided;       /* a person is asked for what is open */
} Plan;

void plan_clear(Plan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

/* Each asks for its part where it is open. False with an error when the person gives up, or when there is
 * nothing to choose from. */
bool plan_ask_token(Plan *plan, Inventory *inventory, GError **error);
bool plan_ask_slot(Plan *plan, GError **error);
bool plan_ask_key(Plan *plan, GError **error);
/* Whether a finger is wanted, where the token can choose; and whether "always" is meant. */
bool plan_ask_touch(const Plan *plan, KeyChoice *choice, GError **error);
bool plan_ask_certificate(Plan *plan, GError **error);
bool plan_ask_pem(Plan *plan, GError **error);
bool plan_ask_output(Plan *plan, GError **error);
