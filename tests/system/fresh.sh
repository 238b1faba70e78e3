#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A minimal system with the package and what it depends on, and nothing else: no Python, no man pages. TAP.
number=0 failed=0
holds() { # name, command...
    local name=$1 said
    shift
    number=$((number + 1))
    if said=$("$@" 2>&1); then
        echo "ok $number $name"
    else
        echo "not ok $number $name"
        sed 's/^/# /' <<<"$said"
        failed=1
    fi
}

runs() {
    systemctl is-system-running --wait || systemctl list-units --failed
    systemctl is-active iothsmd && systemctl is-enabled iothsmd && [ -z "$(systemctl list-units --failed --no-legend)" ]
}
nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
explains() { # "$@" stands before the command
    local said
    said=$("$@" iothsmctl status) || return
    echo "$said"
    grep -q 'not configured' <<<"$said" && grep -q 'iothsmctl trust add --for=platform' <<<"$said" && grep -q '^Next: ' <<<"$said"
}
refuses() {
    ! "${nobody[@]}" iothsmctl --no-ask-password reload
}

echo 1..5
holds "the service runs, and no unit failed" runs
holds "iothsmctl tells root where things stand and what to do next" explains
holds "iothsmctl tells an ordinary user the same" explains "${nobody[@]}"
holds "an ordinary user may change nothing" refuses
holds "the sealing key was made at the first start, not when the package was installed" \
    test /etc/credstore.encrypted/iothsm.key -nt /boot-run/command
exit $failed
