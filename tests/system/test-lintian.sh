#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lintian has neither errors nor warnings about the package.
set -euo pipefail
package=$("${SOURCE:?}/tests/system/package.sh" "$SOURCE" "${BUILD:?}/tests/system/package")
root=()
[ "$(id -u)" -ne 0 ] || root=(--allow-root)
lintian --no-cfg "${root[@]}" --fail-on=error,warning --info "$package"
