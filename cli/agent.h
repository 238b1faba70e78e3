/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* polkit's agent for terminals, started for the time of one run of iothsmctl, so that an administrator on ssh
 * can type the password that an action needs. It steps back where the session has an agent of its own. */

#include <glib.h>

typedef struct Agent Agent;

/* Returns when the agent is registered. NULL where there is none to start: polkit then simply refuses. */
Agent *agent_new(void);
void agent_free(Agent *agent); /* accepts NULL */
