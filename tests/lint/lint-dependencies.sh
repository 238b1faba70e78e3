#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Dependencies point one way (ARCHITECTURE.md): cli and gnome know the bus only, dbus knows polkit and daemon, link knows
# ca, ca knows token, udev nobody; only daemon.c starts the bus, only manager.c knows the sources of tokens.
cd "${SOURCE:?}" || exit 1
status=0
includes() { grep -nE '^#include' -r --include='*.[ch]' "$@"; }
forbid() { # what, pattern, places…
    local what=$1 pattern=$2
    shift 2
    if includes "$@" | grep -P "$pattern"; then
        echo "  ^ $what"
        status=1
    fi
}
sd='systemd/sd-(bus|event|device)|libudev|libsoup'
forbid "the command line speaks D-Bus only" '"(dbus|polkit|udev)/|"daemon/(?!error\.h)' cli
forbid "tokens know nothing of the bus, udev, HTTP, the CA or the link" "$sd|\"(dbus|polkit|udev|cli)/|\"daemon/(ca|link)/" \
    $(ls daemon/token/*.[ch] daemon/token/*/*.[ch] | grep -v '/google-http.c$')
forbid "the CA knows nothing of the bus, udev, HTTP or the link" "$sd|\"(dbus|polkit|udev|cli)/|\"daemon/link/" daemon/ca
forbid "the link knows nothing of the bus and of people" 'systemd/sd-bus|"(dbus|polkit|udev|cli)/' daemon/link
forbid "a transport moves bytes: it sees no key, no decrypted message and nothing of the link around it" \
    'openssl|"daemon/(ca|token|secret|sealing|pin-store)|"daemon/link/(?!transport/)' daemon/link/transport
forbid "one kind of token knows nothing of another" '"daemon/token/(?!pkcs11/)[a-z0-9-]+/' daemon/token/pkcs11
forbid "one kind of token knows nothing of another" '"daemon/token/(?!(yubikey|piv)/)[a-z0-9-]+/' daemon/token/yubikey
forbid "one kind of token knows nothing of another" '"daemon/token/(?!google-kms/)[a-z0-9-]+/' daemon/token/google-kms
forbid "what tokens have in common knows none of their kinds" '"daemon/token/(?!piv/)[a-z0-9-]+/' daemon/token/*.[ch]
forbid "only daemon.c starts the bus" '"(dbus|polkit)/' $(ls daemon/*.[ch] daemon/*/*.[ch] daemon/*/*/*.[ch] | grep -v '^daemon/daemon.c$')
forbid "only the manager knows where tokens come from" '"daemon/token/[a-z0-9-]+/' daemon/link daemon/ca dbus polkit cli $(ls daemon/*.[ch] | grep -vE 'daemon/manager(-acts)?\.c')
forbid "udev knows nobody" '"(daemon|dbus|polkit|cli)/' udev
forbid "only the manager knows udev" '"udev/' $(ls daemon/*.[ch] daemon/*/*.[ch] daemon/*/*/*.[ch] dbus/*.[ch] | grep -v '^daemon/manager.c$')
forbid "polkit knows the bus only" '"daemon/' polkit
forbid "the stand-in shares no code with what it judges" '"(daemon|dbus|polkit|cli)/' tests/platform tests/virtual-yubikey tests/google-kms
exit $status
