/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A scripted platform and an agent with one authority, "One", that is connected to it: requests go in,
 * answers come out. Failures are assertions. */

#include "tests/unit/link/agent.h"

typedef struct Scene {
    ScriptedPlatform *platform;
    Agent *agent;
    Authority *authority;
    char *channel;
    char *csr; /* PEM with \n as two characters: fit for JSON */
} Scene;

/* On the token F1. */
void open_scene(Scene *scene);
/* On each of |tokens| (lines of fake.h, F1 and perhaps F2); members of |changes| that are not 0 change the
 * configuration. */
void open_scene_with(Scene *scene, const char *tokens, const Config *changes);
void scene_clear(Scene *scene);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scene, scene_clear)

/* A request with |content|; |more| members of the envelope. */
void send_content(Scene *scene, const char *siguuid, const char *signtype, const char *content,
                  const char *more);
/* The content of a request for a certificate. Transfer full. */
char *csr_content(const Scene *scene, const char *siguuid);
void send_csr(Scene *scene, const char *siguuid);
/* And waits until one more answer has come, whichever it is. */
void send_csr_again(Scene *scene, const char *siguuid);
/* |count| of them: "r-0", "r-1", … */
void send_csrs(Scene *scene, guint count);

/* Waits for the answer to |siguuid|, and gives its text. Transfer full. */
char *answer(Scene *scene, const char *siguuid, bool success);
void assert_refused(Scene *scene, const char *siguuid, const char *message);
/* Sent, and signed. */
void assert_csr_signed(Scene *scene, const char *siguuid);
/* All of send_csrs were signed. */
void assert_answered(Scene *scene, guint count);
guint count_answers(const Scene *scene);
void wait_answers(Scene *scene, guint wanted);

void hold(Scene *scene, const char *serial, bool hold);
