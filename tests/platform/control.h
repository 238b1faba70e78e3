/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way in for commands: a Unix socket DIR/control.sock that only its owner can open. A client writes one
 * line of JSON, {"verb":…}, and gets one line back: {"ok":true,…} or {"ok":false,"error":"…"}. It must not
 * close its side before; one that goes away is not waited for. */

#include "tests/platform/members.h"
#include <gio/gio.h>

/* ---- the server's side; main thread ---- */

typedef struct Control Control;
typedef struct ControlCall ControlCall; /* to be answered exactly once, by control_answer or control_refuse */
typedef void (*ControlFunc)(ControlCall *call, JsonObject *arguments, void *userdata);

Control *control_open(const char *directory, ControlFunc handle, void *userdata, GError **error);
void control_close(Control *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Control, control_close)

/* Adds "ok". Takes |answer|. */
void control_answer(ControlCall *call, JsonObject *answer);
void control_refuse(ControlCall *call, const char *why);
/* Whether the client is still there. */
bool control_is_wanted(const ControlCall *call);

/* ---- the client's side; blocks ---- */

/* Sends |arguments|, waits for the answer. NULL with |error| set, also where the answer is not ok. Transfer
 * full. */
JsonObject *control_ask(const char *directory, JsonObject *arguments, GError **error);
