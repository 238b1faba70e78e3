/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What can be done to a token and its slots, one function a method: `generate`, `self-sign` and the others,
 * and `provision`, which does several of them in a row. */

#include "cli/cli.h"
#include "cli/inventory.h"
#include "cli/secret-input.h"

/* What PIV and PKCS#11 let a person choose for a key; NULL: the token's default. */
typedef struct KeyChoice {
    char *label;
    char *pin_policy;
    char *touch_policy;
} KeyChoice;

/* What a person can change about what a template makes. */
typedef struct SignChoice {
    char *hash; /* NULL: the service's default */
    int days;   /* 0: as the template says */
    gboolean replace;
} SignChoice;

#define KEY_CHOICE_OPTIONS(choice)                                                                           \
    {"label", 0, 0, G_OPTION_ARG_FILENAME, &(choice).label, "Label of the key, where the token has labels",  \
     "TEXT"},                                                                                                \
        {"pin-policy",                                                                                       \
         0,                                                                                                  \
         0,                                                                                                  \
         G_OPTION_ARG_FILENAME,                                                                              \
         &(choice).pin_policy,                                                                               \
         "When the token wants the PIN: never, once or always",                                              \
         "POLICY"},                                                                                          \
    {                                                                                                        \
        "touch-policy", 0, 0, G_OPTION_ARG_FILENAME, &(choice).touch_policy,                                 \
            "When the token wants to be touched: never, always or cached", "POLICY"                          \
    }

#define SIGN_CHOICE_OPTIONS(choice)                                                                          \
    {"hash", 0, 0, G_OPTION_ARG_FILENAME, &(choice).hash, "Hash to sign with: sha256, sha384 or sha512",     \
     "HASH"},                                                                                                \
        {"days",                                                                                             \
         0,                                                                                                  \
         0,                                                                                                  \
         G_OPTION_ARG_INT,                                                                                   \
         &(choice).days,                                                                                     \
         "Days of validity instead of the template's end date",                                              \
         "N"},                                                                                               \
    {                                                                                                        \
        "replace", 0, 0, G_OPTION_ARG_NONE, &(choice).replace,                                               \
            "Replace a certificate that is in use already", NULL                                             \
    }

/* |slot| "": the first free one. Transfer full: the object path of the new slot. */
char *act_generate_key(Client *client, const InventoryToken *token, const char *slot, const char *type,
                       const KeyChoice *choice, GError **error);

/* The key in |file| ("-": standard input), which may want a passphrase. Transfer full: the object path. */
char *act_import_key(Client *client, const InventoryToken *token, const char *slot, const char *file,
                     const SecretSource *passphrase, const KeyChoice *choice, GError **error);

/* Transfer full: PEM. */
typedef char *TemplateAct(Client *client, const InventorySlot *slot, const char *template_pem,
                          const SignChoice *choice, GError **error);
TemplateAct act_self_sign, act_create_csr;
/* The verb of it: |arguments| are TOKEN/SLOT and TEMPLATE; the rest as for act_write_pem. */
bool act_use_template(Cli *cli, char **arguments, TemplateAct *act, const SignChoice *choice,
                      const char *output_file, const char *member, GError **error);
bool act_import_certificate(Client *client, const InventorySlot *slot, const char *pem, GError **error);

/* What the template would make. Transfer full. */
JsonNode *act_describe_template(Client *client, const char *pem, GError **error);
/* The same for people. */
void act_print_template(Output *output, JsonObject *description);

/* The text in |file| ("-": standard input), at most 1 MiB. Transfer full. */
char *act_read_file(const char *file, GError **error);
/* |pem| to |file|, or to stdout where |file| is NULL. JSON gets {"|member|": pem}, wherever the PEM went. */
bool act_write_pem(Output *output, const char *file, const char *member, const char *pem, GError **error);

/* What names a token's object |path|: its serial number. Transfer full. */
char *act_token_name(const char *path);
/* What names a slot's object |path|. Transfer full. */
bool act_split_path(const char *path, char **ret_token, char **ret_slot);
/* Says that a key is in the slot at |path|; |what| is "Generated a p256 key in". */
void act_report_key(Cli *cli, const char *path, const char *what);

/* Asks on the terminal whether that which |question| names may happen, unless |yes| was given. False with an
 * error when it may not, or when nobody can be asked. */
bool act_confirm(Client *client, bool yes, const char *question, GError **error);

/* Whether |token| is of |kind|. UNSUPPORTED where it isn't, with what removes one of its own kind. */
bool act_check_kind(const InventoryToken *token, const char *kind, GError **error);

/* RemoveToken, once |question| is answered as for act_confirm. */
bool act_remove_token(Client *client, const InventoryToken *token, bool yes, const char *question,
                      GError **error);
