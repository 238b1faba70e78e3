#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes what run.py boots: Debian's kernel, an initial RAM disk that finds the root, and a small Debian with what a package
# depends on, but without that package. Everything comes from the apt sources that this machine has for Debian. What was
# made for the same dependencies before is taken as it is.
#
#   make-image.sh PACKAGE.deb FOLDER      writes FOLDER/{kernel,initrd,root.ext4}
set -euo pipefail
package=$(realpath -e "$1")
mkdir -p "$2"
folder=$(realpath -e "$2")
exec 9>"$folder/lock"
flock 9

# Of the dependencies the first of each alternative, without versions. What the stories themselves need stands before them:
# the system, the tokens' middleware, the openssl command that judges, Python, and what systemd-creds opens to reach a TPM.
mapfile -t dependencies < <(dpkg-deb --field "$package" Depends | tr ',' '\n' | sed 's/[|(].*//; s/ //g' | LC_ALL=C sort)
packages=(systemd systemd-sysv udev kmod dbus libpam-systemd libnss-systemd polkitd passwd login procps
    pcscd libccid openssl python3 libtss2-esys-3.0.2-0 libtss2-mu0 libtss2-rc0 libtss2-tcti-device0 "${dependencies[@]}")
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The modules that a machine as run.py makes it needs; what these need themselves is found out below.
to_boot="virtio_pci virtio_blk crc32c_generic ext4"
modules="$to_boot 9p 9pnet_virtio virtio_rng tpm_tis vhci-hcd configfs fuse autofs4"

identity=$({ cat "$0"; echo "${packages[@]}" "$release"; } | sha256sum | cut -d' ' -f1)
[ "$(cat "$folder/identity" 2>/dev/null)" != "$identity" ] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/make-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$folder"/{identity,kernel,initrd,root.ext4}

sources() {
    # shellcheck disable=SC2016 # apt expands that
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        "Identifier: Packages" "Origin: Debian" "Codename: $1"
}
for name in "$release" "$release-updates" "$release-security"; do sources "$name"; done >"$work/sources.list"
if [ ! -s "$work/sources.list" ]; then
    echo "make-image.sh: apt knows no sources of Debian $release; run apt-get update" >&2
    exit 1
fi

# The kernel's package is unpacked, not installed: its scripts would make a large initial RAM disk.
cat >"$work/fetch-kernel" <<'X'
#!/bin/bash
set -euo pipefail
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p' | head -1)
cd "$1/.."
apt-get download --quiet=2 -o APT::Sandbox::User=root "$kernel"
X
chmod +x "$work/fetch-kernel"
root=$work/root
mmdebstrap --quiet --variant=apt --include="$(IFS=, && echo "${packages[*]}")" \
    --customize-hook="$work/fetch-kernel" "$release" "$root" "$work/sources.list" >"$folder/log" 2>&1 ||
    { tail -30 "$folder/log" >&2; exit 1; }
dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel"
version=$(basename "$work"/kernel/lib/modules/*)

# All modules are there while it is found out which of them are needed; the others leave before the image is made.
files_of() {
    chroot "$root" modprobe --set-version "$version" --show-depends "$1" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
}
mkdir -p "$root/lib/modules"
mv "$work/kernel/lib/modules/$version" "$root/lib/modules/"
chroot "$root" depmod "$version"
for module in $modules; do files_of "$module"; done | sort -u >"$work/needed"
for module in $to_boot; do files_of "$module"; done | awk '!seen[$0]++' >"$work/needed-to-boot"
find "$root/lib/modules/" -name '*.ko' -printf '/lib/modules/%P\n' | sort | comm -23 - "$work/needed" | sed "s|^|$root|" |
    xargs -d '\n' rm
chroot "$root" depmod "$version"

tree=$work/initrd
mkdir -p "$tree"/{bin,dev,modules,proc,root}
cp "$(command -v busybox)" "$tree/bin/busybox"
number=10
while read -r file; do
    cp "$root$file" "$tree/modules/$number-${file##*/}"
    number=$((number + 1))
done <"$work/needed-to-boot"
cat >"$tree/init" <<'X'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox echo "The kernel is up." # see accelerator.py
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox poweroff -f
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
X
chmod +x "$tree/init"
(cd "$tree" && find . | cpio --create --format=newc --quiet | gzip -1) >"$folder/initrd"
cp "$work"/kernel/boot/vmlinuz-* "$folder/kernel"

# A boot without what a desk has: consoles, timers, a network. vm-run is the command of this boot; see run.py.
for unit in getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer dpkg-db-backup.timer systemd-networkd.service systemd-firstboot.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-tmpfiles-clean.timer systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service modprobe@{drm,dm_mod,efi_pstore,loop}.service systemd-ask-password-{console,wall}.path; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# What looks for discs and consoles at each boot and each daemon-reload; nobody generates a unit that is used here.
mkdir "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
    ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done
cat >"$root/etc/systemd/system/vm-run.target" <<'X'
[Unit]
Requires=multi-user.target
Wants=vm-run.service
X
cat >"$root/etc/systemd/system/vm-run.service" <<'X'
[Unit]
Description=The command of this boot
After=multi-user.target dbus.socket
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=exec
StandardInput=null
ExecStart=/bin/bash /usr/local/sbin/vm-run
X
cat >"$root/usr/local/sbin/vm-run" <<'X'
modprobe -a 9pnet_virtio 9p
mkdir -p /share /logs
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144 share /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 logs /logs
status=0
bash /logs/command >>/logs/output.txt 2>&1 || status=$?
journalctl --boot --output=short-monotonic --no-pager >>/logs/journal.txt
echo $status >/logs/status
umount /logs
X
: >"$root/etc/fstab"
echo vm >"$root/etc/hostname"
rm -rf "$root"/usr/share/{doc,info,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
mke2fs -q -t ext4 -O ^has_journal -d "$root" "$folder/root.ext4" 1200M >/dev/null
echo "$identity" >"$folder/identity"
