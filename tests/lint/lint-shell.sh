#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Shell scripts pass shellcheck.
cd "${SOURCE:?}" || exit 1
mapfile -t scripts < <(grep -rlE '^#!.*\b(ba)?sh\b' check quickstart .ci tests data cli debian --include='*' 2>/dev/null | grep -vE '\.(c|h|py)$')
shellcheck --severity=warning --external-sources --exclude=SC2010,SC2046,SC2054,SC2100,SC1091 "${scripts[@]}"
