# SPDX-License-Identifier: LGPL-2.1-or-later
# What has to be installed, by its Debian name; sourced by check and quickstart.
# shellcheck shell=bash disable=SC2034

packages_build=(
    gcc libc6-dev meson ninja-build pkg-config
    libsystemd-dev libglib2.0-dev libssl-dev libsoup-3.0-dev libjson-glib-dev libp11-dev libp11-kit-dev
    libsqlite3-dev zlib1g-dev libsmartcols-dev libpcsclite-dev libudev-dev libykpiv-dev scdoc
)
# To run the quickstart: a token, a bus, TLS for GLib, the judge.
packages_run=(softhsm2 dbus-daemon glib-networking openssl)
packages_test=(
    "${packages_run[@]}"
    libasan8 libubsan1
    git python3 man-db locales libxml2-utils shellcheck clang-format bash-completion zsh fish
    systemd systemd-sysv systemd-container libpam-systemd libnss-systemd dbus polkitd passwd
    pcscd vsmartcard-vpcd opensc yubico-piv-tool ykcs11
    udev umockdev libumockdev-dev
    dpkg-dev debhelper lintian make dbus-bin swtpm tpm2-tools libtss2-tcti-swtpm0 mmdebstrap
)
packages_vm=(qemu-system-x86 mmdebstrap busybox-static cpio e2fsprogs swtpm)

# Runs "$@" and shows what it said only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

# Installs those of "$@" that are missing, through sudo where we are not root.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "everything that is needed is installed"
        return 0
    fi
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "These packages are missing and there is no sudo; install them as root:" >&2
            echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
            return 1
        fi
        apt=(sudo "${apt[@]}")
    fi
    echo "installing with apt: ${missing[*]}"
    quietly "${apt[@]}" update && quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}
