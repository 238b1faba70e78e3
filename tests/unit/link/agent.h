/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An agent for link tests: the real link, journal, identity and authorities over fake tokens, in a folder of
 * its own, pointed at a scripted platform. */

#include "daemon/link/link.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/link/scripted-platform.h"

typedef struct Agent {
    char *directory;
    Config config;
    Sealing *sealing;
    PinStore *pins;
    Source *source;
    GPtrArray *tokens; /* Token */
    AuthoritySet *authorities;
    Identity *identity;
    Journal *journal;
    Link *link;
    GPtrArray *signed_requests; /* char *: siguuid */
    GPtrArray *denied_requests; /* char *: "siguuid: reason" */
} Agent;

/* |tokens|: lines of fake.h. */
Agent *agent_new(ScriptedPlatform *platform, const char *tokens);
void agent_free(Agent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Agent, agent_free)

/* Puts a key and a CA certificate of |common_name| into the token, or into each of several ("F1 F2"); the
 * platform believes it. Transfer none. */
Authority *agent_provision(Agent *agent, ScriptedPlatform *platform, const char *serials,
                           const char *key_type, const char *common_name);
/* The same with policies for the key. */
Authority *agent_provision_with(Agent *agent, ScriptedPlatform *platform, const char *serials,
                                const char *key_type, const KeyOptions *options, const char *common_name);
Token *agent_token(Agent *agent, const char *serial);
void agent_wait_ready(Agent *agent, const char *serial);
void agent_give_pin(Agent *agent, const char *serial, const char *pin);

/* Link, journal and identity end and begin again over the same folder. */
void agent_restart(Agent *agent);
/* With |meanwhile| done to the folder between the two. */
void agent_restart_after(Agent *agent, void (*meanwhile)(void *userdata), void *userdata);

/* link_reload, with the files read again. |config| outlives the link. */
void agent_reload(Agent *agent, const Config *config);

void agent_wait_link(Authority *authority, AuthorityLink state);
/* Until the authority's message holds |part|. */
void agent_wait_message(Authority *authority, const char *part);
void agent_wait_state(Agent *agent, LinkState state);
void agent_wait_denied(Agent *agent, guint count);
