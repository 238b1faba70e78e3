/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Introspection XML as a list of lines that can be compared: what is promised, without comments and layout.
 */

#include <glib.h>

/* The interface |name| in |xml|: "property State s read", "method SetPin in pin h in persist b", "signal …",
 * sorted. Empty when there is no such interface. Transfer full. */
char *interface_text(const char *xml, const char *name);
