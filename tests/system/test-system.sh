#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Boots containers with IoT-HSM in them and has run-chapters.py tell a story there. TAP.
#
#   test-system.sh debian       the Debian package: an older one, the upgrade, two boots, the purge
#   test-system.sh sanitized    what `meson install` installs, with the daemon of a build with sanitizers ($SANITIZED)
#   test-system.sh tpm          a sealing key bound to a TPM (swtpm), and copies of the disk
#   test-system.sh fresh        the package on a minimal Debian 12, which minimal-root.sh has made from the network
#
# It skips where containers can't be started: inside one, and for users other than root.
set -euo pipefail
: "${SOURCE:?}" "${BUILD:?}" "${PLATFORM:?}" "${YUBIKEY:?}"
story=${1:?which story?}

skip() {
    echo "1..0 # SKIP $*"
    exit 0
}
bail_out() {
    echo "Bail out! $*"
    exit 1
}
[ "$(id -u)" -eq 0 ] || skip "starting a container needs root; run: sudo meson test -C $BUILD --suite system"
[ "$(systemd-detect-virt --container)" != systemd-nspawn ] || skip "this is a container itself"
! systemd-detect-virt --quiet --chroot 2>/dev/null || skip "this is a changed root, where no container can be started"

work=$(mktemp -d "${TMPDIR:-/tmp}/iothsm-system.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/share"
cp -r "$SOURCE"/tests/system/{machine.py,run-chapters.py,chapters,installed.txt} "$SOURCE/README.md" \
    "$SOURCE/daemon/message-ids.h" "$PLATFORM" "$YUBIKEY" "$work/share/"

installed_tree() { # into $work/tree, with a list of it
    (umask 022 && meson install -C "$BUILD" --destdir "$work/tree" --no-rebuild --quiet) || bail_out "meson install failed"
    (cd "$work/tree" && find . -type f -o -type l) | sed 's/^\.//' | LC_ALL=C sort >"$work/share/tree.txt"
}

# The package as it is built, and one that says of itself that it is older: all its digits are 0.
packages() {
    local newer version older
    newer=$("$SOURCE/tests/system/package.sh" "$SOURCE" "$BUILD/tests/system/package") || bail_out "the package can't be built"
    version=$(dpkg-deb --field "$newer" Version)
    older=${version//[0-9]/0}
    mkdir "$work/share"/{newer,older}
    cp "$newer" "$work/share/newer/"
    dpkg-deb --raw-extract "$newer" "$work/older"
    sed -i "s/^Version: .*/Version: $older/" "$work/older/DEBIAN/control"
    sed -i "s/${version//./\\.}\\x00/$older\\x00/g" "$work/older/usr/libexec/iothsmd"
    dpkg-deb --build --root-owner-group -Zgzip -z1 "$work/older" "$work/share/older" >/dev/null
}

tell() { # options of boot.sh, "--", chapters
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    "$SOURCE/tests/system/boot.sh" --share="$work/share" --logs="$BUILD/tests/system/logs/$story" "${options[@]}" -- \
        /usr/bin/python3 /share/run-chapters.py "$@"
}

case $story in
debian)
    packages
    tell --boots=2 -- package service authority secrets access operation proxy forgotten yubikey upgrade plugged traces \
        --next-boot second_boot purge
    ;;
sanitized)
    [ -x "${SANITIZED-}" ] || skip "SANITIZED does not name an iothsmd that was built with sanitizers"
    installed_tree
    cp "$SANITIZED" "$work/share/iothsmd-sanitized"
    tell --over="$work/tree" -- tree sanitizers service authority secrets access operation forgotten yubikey traces
    ;;
tpm)
    installed_tree
    tell --over="$work/tree" --setenv=SYSTEMD_TPM2_DEVICE=swtpm:host=127.0.0.1,port=2321 -- tpm
    ;;
fresh)
    minimal=$BUILD/tests/system/minimal
    [ -e "$minimal/root.tar" ] ||
        skip "$(cat "$minimal/reason" 2>/dev/null || echo "there is no minimal Debian, which ./check makes: minimal-root.sh")"
    newer=$("$SOURCE/tests/system/package.sh" "$SOURCE" "$BUILD/tests/system/package") || bail_out "the package can't be built"
    mkdir "$work/root"
    tar -C "$work/root" --numeric-owner -xpf "$minimal/root.tar"
    cp "$newer" "$work/root/iothsm.deb"
    # No systemd runs there yet, as where an image is made.
    DEBIAN_FRONTEND=noninteractive chroot "$work/root" dpkg --install /iothsm.deb >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; bail_out "the package can't be installed where systemd does not run"; }
    cp "$SOURCE/tests/system/fresh.sh" "$work/share/"
    "$SOURCE/tests/system/boot.sh" --root="$work/root" --share="$work/share" --logs="$BUILD/tests/system/logs/$story" -- \
        /bin/bash /share/fresh.sh
    ;;
*) bail_out "there is no story $story" ;;
esac
