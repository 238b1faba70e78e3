#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian package in a virtual machine with a kernel, a udevd, a USB controller, control groups and a TPM of its own,
# where tests/system/run-chapters.py tells a story. TAP.
#
#   test-vm.sh yubikey    a YubiKey is plugged in, pulled out, plugged in again
#   test-vm.sh machine    the limits of the unit; the PIN sealed with the TPM, two more boots, the last one elsewhere
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
[ "$(id -u)" -eq 0 ] || skip "making a virtual machine's disk needs root; run: sudo meson test -C $BUILD --suite vm"
for program in qemu-system-x86_64 swtpm mmdebstrap busybox mke2fs cpio; do
    command -v "$program" >/dev/null || skip "$program is not installed; ./check --vm installs what is needed"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/iothsm-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
package=$("$SOURCE/tests/system/package.sh" "$SOURCE" "$BUILD/tests/system/package") || bail_out "the package can't be built"
image=$BUILD/tests/vm/image
"$SOURCE/tests/vm/make-image.sh" "$package" "$image" || bail_out "the machine's disk can't be made"

mkdir "$work/share"
cp -r "$SOURCE"/tests/system/{machine,run-chapters}.py "$SOURCE"/tests/vm/{desk.py,chapters} \
    "$SOURCE/daemon/message-ids.h" "$SOURCE/data/man/iothsmd.8.scd" "$package" "$PLATFORM" "$YUBIKEY" "$work/share/"
# The platform's RSA keys are made here: where the processors are emulated that takes as long as a boot.
exec {serving}< <("$PLATFORM" serve --directory="$work/share/platform" --port=0)
while read -r word _ <&"$serving" && [ "$word" != url ]; do :; done
"$PLATFORM" stop --directory="$work/share/platform" >/dev/null || bail_out "the platform's stand-in does not start"
cp --sparse=always "$image/root.ext4" "$work/disk"
read -r accelerator why < <("$SOURCE/tests/vm/accelerator.py" "$image") || bail_out "QEMU can't be tried"
echo "# figure: vm $story: $why"
logs=$BUILD/tests/vm/logs/$story
rm -rf "$logs"
mkdir -p "$logs"

# The words of run-chapters.py; it runs with them at each boot, and tells what belongs to this one.
chapters=()
boot() { # number, folder of the TPM
    local status=0
    "$SOURCE/tests/vm/run.py" --image="$image" --disk="$work/disk" --share="$work/share" --logs="$logs" --tpm="$work/$2" \
        --accelerator="$accelerator" -- env "BOOT=$1" PATIENCE=90 python3 -B /share/run-chapters.py "${chapters[@]}" || status=$?
    [ $status -eq 0 ] || { cat "$logs/output.txt"; exit $status; }
}

case $story in
yubikey)
    chapters=(provisioned replugged)
    boot 1 tpm
    ;;
machine)
    chapters=(provisioned limits sealed --next-boot rebooted --next-boot elsewhere)
    boot 1 tpm
    boot 2 tpm
    boot 3 other-tpm
    ;;
*) bail_out "there is no story $story" ;;
esac
cat "$logs/output.txt"
