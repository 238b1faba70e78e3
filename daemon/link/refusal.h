/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the platform is told when a request is refused: one stable line. Whatever was wrong with the request
 * is told in the words of the error; of a token and of ourselves it learns no more than it needs (no token,
 * no slot, no PIN state beyond "login failed"), whatever the token's words are. Transfer none. */

#include <glib.h>

/* |error| of reading, checking or preparing what was asked. */
const char *refusal_of_request(const GError *error);
/* |error| of the token, or of our own. */
const char *refusal_of_token(const GError *error);
