/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Appliances: daemons with fake tokens, each on a bus of its own, for the platform of one scene. All their
 * tokens hold the same key and the same CA certificate. $IOTHSMD_FAKE is the program. */

#include "tests/end-to-end/scene.h"

typedef struct Appliances Appliances;

/* |count| of them, each with |tokens| tokens "F1", "F2" and so on; |words| describe each token further, as
 * "delay-ms=100", or are "". With the CA |name| provisioned and connected everywhere. */
Appliances *appliances_new(Scene *scene, guint count, guint tokens, const char *words, const char *name);
void appliances_free(Appliances *appliances);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Appliances, appliances_free)

Fixture *appliances_fixture(Appliances *appliances, guint which);
/* Signatures since its start, of one and of all. */
gint64 appliances_signatures(Appliances *appliances, guint which);
gint64 appliances_all_signatures(Appliances *appliances);
/* What `iothsmctl metrics` says there. Transfer full. */
char *appliances_metrics(Appliances *appliances, guint which);
