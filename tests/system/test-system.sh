#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs the build into a folder, boots that tree in a container, and runs test-installed.py there. TAP.
# It skips where containers can't be started: inside one, and for users other than root.
set -euo pipefail
: "${SOURCE:?}" "${BUILD:?}" "${PLATFORM:?}"

skip() {
    echo "1..0 # SKIP $*"
    exit 0
}
[ "$(id -u)" -eq 0 ] || skip "starting a container needs root; run: sudo meson test -C $BUILD --suite system"
[ "$(systemd-detect-virt --container)" != systemd-nspawn ] || skip "this is a container itself"
! systemd-detect-virt --quiet --chroot 2>/dev/null || skip "this is a changed root, where no container can be started"

work=$(mktemp -d "${TMPDIR:-/tmp}/iothsm-system.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/share"
(umask 022 && meson install -C "$BUILD" --destdir "$work/tree" --no-rebuild --quiet) ||
    { echo "Bail out! meson install failed"; exit 1; }
(cd "$work/tree" && find . -type f -o -type l) | sed 's/^\.//' | LC_ALL=C sort >"$work/share/tree.txt"
cp "$SOURCE"/tests/system/{test-installed.py,installed.txt} "$SOURCE/README.md" "$SOURCE/daemon/message-ids.h" \
    "$PLATFORM" "$work/share/"
"$SOURCE/tests/system/boot.sh" --over="$work/tree" --share="$work/share" --logs="$BUILD/tests/system/logs" -- \
    /usr/bin/python3 /share/test-installed.py
