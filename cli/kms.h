/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Google Cloud KMS from the command line: places there (projects, locations, key rings), by their resource
 * names or shorter, and the walk from one to the next. |credentials| is a descriptor with a service account's
 * key file, -1: the account of the machine that the service runs on. */

#include "cli/cli.h"

/* "P", "P/L" and "P/L/R" are spelled out: "projects/P/locations/L/keyRings/R". Transfer full. */
char *kms_place(const char *name);
/* Its last part. Transfer none. */
const char *kms_place_id(const char *place);

/* Calls |method| of the manager on |place|. Transfer full. */
sd_bus_message *kms_call(Client *client, const char *method, const char *place, int credentials,
                         GError **error);
/* What is below |place|: an object with the array "children". Transfer full. */
JsonNode *kms_browse(Client *client, const char *place, int credentials, GError **error);
/* The key versions below a key ring, or the places below another. */
void kms_print_children(Output *output, const JsonNode *answer);

/* Asks a person from the projects down to a key ring. NULL: given up, or an error. Transfer full. */
char *kms_choose_key_ring(Client *client, int credentials, GError **error);
