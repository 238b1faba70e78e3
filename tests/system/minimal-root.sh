#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes a minimal Debian 12 that has what the package depends on, but not the package, from the network, for the story
# "fresh": FOLDER/root.tar. One that was made for the same dependencies before is taken as it is. Where it can't be made
# FOLDER/reason says why, and the exit status is 0: the story skips with that. Needs root.
#
#   minimal-root.sh PACKAGE FOLDER
set -euo pipefail
package=$(realpath -e "$1")
mkdir -p "$2"
folder=$(realpath -e "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/iothsm-root.XXXXXX")
trap 'rm -rf "$work"' EXIT

depends=$(dpkg-deb --field "$package" Depends)
rm -f "$folder/reason"
[ "$(cat "$folder/depends" 2>/dev/null)" != "$depends" ] || exit 0
rm -f "$folder"/{depends,root.tar}

# apt resolves the dependencies of an empty package, alternatives and versions and all.
mkdir -p "$work/wishes/DEBIAN"
cat >"$work/wishes/DEBIAN/control" <<X
Package: iothsm-wishes
Version: 1
Architecture: all
Maintainer: IoT-HSM maintainers <maintainers@iothsm.invalid>
Depends: $depends
Description: what iothsm depends on
X
dpkg-deb --build --root-owner-group "$work/wishes" "$work/wishes.deb" >/dev/null
# shellcheck disable=SC2016 # mmdebstrap gives the hook its root
if timeout --kill-after=10 240 mmdebstrap --quiet --variant=apt --include=systemd-sysv --include="$work/wishes.deb" \
    --hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount \
    --customize-hook='chroot "$1" dpkg --purge iothsm-wishes' bookworm "$work/root.tar" </dev/null >"$work/log" 2>&1; then
    mv "$work/root.tar" "$folder/root.tar"
    echo "$depends" >"$folder/depends"
else
    cp "$work/log" "$folder/log"
    echo "mmdebstrap can't make a minimal Debian from the network: $(grep -m1 '^E: ' "$work/log" ||
        tail -1 "$work/log")" >"$folder/reason"
fi
