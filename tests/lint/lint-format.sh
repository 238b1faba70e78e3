#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sources look as .clang-format says.
cd "${SOURCE:?}" || exit 1
find daemon dbus polkit udev cli tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror --ferror-limit=3 2>&1 | tail -n 40
exit "${PIPESTATUS[1]}"
