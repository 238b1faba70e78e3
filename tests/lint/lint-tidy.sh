#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# clang-tidy has nothing to say, by .clang-tidy. Minutes long: a suite of its own, which ./check --all asks for.
cd "${SOURCE:?}" || exit 1
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed"; exit 77; }
find daemon dbus polkit udev cli -name '*.c' -print0 |
    xargs -0 -P "$(nproc)" -n 4 clang-tidy -p "${BUILD:?}" --quiet 2>&1 |
    grep -vE '^[0-9]+ (warnings?|errors?) .*generated\.$|warnings? treated as errors?$'
exit "${PIPESTATUS[1]}"
