/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon has, at one moment: the document of Describe(), from which tables are made and which --json
 * prints, with the object path of each token and slot. And how a person names one of them: a token by serial,
 * label or object id, a slot as TOKEN/SLOT. */

#include "cli/client.h"
#include "cli/message-json.h"

typedef struct InventoryToken {
    char *path;
    JsonObject *properties; /* not owned, as below */
    GPtrArray *slots;       /* InventorySlot */
} InventoryToken;

typedef struct InventorySlot {
    char *path;
    JsonObject *properties;
    InventoryToken *token; /* whose it is; not owned */
} InventorySlot;

typedef struct Inventory {
    JsonNode *document;     /* what Describe() said, an object */
    JsonObject *manager;    /* the same; not owned */
    GPtrArray *tokens;      /* InventoryToken, ordered as in the document */
    JsonArray *authorities; /* not owned */
} Inventory;

Inventory *inventory_read(Client *client, GError **error);
void inventory_free(Inventory *inventory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inventory, inventory_free)

/* Transfer none. NO_SUCH_TOKEN, or INVALID for a label that several tokens have, with the candidates. */
InventoryToken *inventory_find_token(Inventory *inventory, const char *name, GError **error);
/* By the name under which the token lists it or the other one that it has, in any case; NULL: it has nothing
 * there. */
InventorySlot *inventory_token_slot(const InventoryToken *token, const char *name);
/* |name| is TOKEN/SLOT. NO_SUCH_TOKEN, NO_SUCH_SLOT. Transfer none. */
InventorySlot *inventory_find_slot(Inventory *inventory, const char *name, GError **error);
/* |name| is TOKEN or TOKEN/SLOT, the slot need not exist; |ret_slot| "" where none was named. Transfer none.
 */
InventoryToken *inventory_find_place(Inventory *inventory, const char *name, const char **ret_slot,
                                     GError **error);
/* By object path; NULL where there is none. */
InventorySlot *inventory_slot_at(Inventory *inventory, const char *path);

/* "12345678", "0f3c… (demo)". Transfer full. */
char *inventory_token_title(const InventoryToken *token);
/* "SERIAL/NAME": the name under which every verb knows it. Transfer full. */
char *inventory_slot_title(const InventorySlot *slot);
