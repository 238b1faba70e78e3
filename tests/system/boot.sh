#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Boots this machine's own installation, with a tree laid over it, in a container with a real systemd, runs one command
# there as root, prints what it prints and ends with its exit status. Nothing of the machine is written to: all changes go
# to memory and vanish with the container, which has no network but loopback.
#
#   boot.sh [--root=ROOT] [--over=TREE] [--share=DIRECTORY] [--logs=DIRECTORY] [--limit=SECONDS] [--boots=NUMBER]
#           [--setenv=NAME=VALUE] COMMAND [ARGUMENT...]
#     --root    boots this system, not the machine's own
#     --over    a tree as `meson install --destdir` makes it, laid over /
#     --share   is /share in the container, read-only
#     --logs    gets output.txt (what the command printed), console.txt (what systemd said) and journal.txt
#     --limit   seconds that the command may take
#     --boots   so many times in a row, with what the boots before have left behind; the command sees BOOT=1, 2, ...
#     --setenv  a variable of the container's systemd
#
# Needs root and systemd-container; no terminal, no systemd on the machine itself.
set -euo pipefail

lower=/ over='' share='' logs='' limit=240 boots=1 variable=''
while [ $# -gt 0 ]; do
    case $1 in
    --root=*) lower=$(realpath -e "${1#*=}") ;;
    --over=*) over=$(realpath -e "${1#*=}") ;;
    --share=*) share=$(realpath -e "${1#*=}") ;;
    --logs=*) mkdir -p "${1#*=}" && logs=$(realpath -e "${1#*=}") ;;
    --limit=*) limit=${1#*=} ;;
    --boots=*) boots=${1#*=} ;;
    --setenv=*) variable=${1#*=} ;;
    --) shift; break ;;
    -*) echo "boot.sh: $1 is not understood" >&2; exit 64 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || { echo "boot.sh: what shall run in the container?" >&2; exit 64; }

# The mounted control group hierarchies, cgroup v2 alone or beside v1, in which systemd keeps its units.
hierarchies=()
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$hierarchy/cgroup.procs" ] && hierarchies+=("$hierarchy")
done

# Outer half: a mount and a process namespace that take everything in them along when they end, however they end, and
# control groups of our own, because systemd-nspawn names its own ones after the caller's and two runs would meet there.
if [ -z "${BOOT_PLACE-}" ]; then
    place=$(mktemp -d "${TMPDIR:-/tmp}/boot.XXXXXX")
    group=${place##*/}
    for hierarchy in "${hierarchies[@]}"; do mkdir "$hierarchy/$group"; done
    child=
    clean_up() {
        [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
        [ -z "$child" ] || wait "$child" 2>/dev/null || true
        for hierarchy in "${hierarchies[@]}"; do
            for _ in {1..50}; do # a killed process leaves its group a little later
                find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
                sleep 0.1
            done
        done
        rmdir "$place"
    }
    trap clean_up EXIT
    trap 'exit 143' TERM INT HUP
    BOOT_PLACE=$place setpriv --pdeathsig KILL \
        unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- \
        "$0" --root="$lower" ${over:+--over="$over"} ${share:+--share="$share"} ${logs:+--logs="$logs"} \
        --limit="$limit" --boots="$boots" ${variable:+--setenv="$variable"} -- "$@" </dev/null &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    exit "$status"
fi

# Inner half.
place=$BOOT_PLACE
unset BOOT_PLACE
for hierarchy in "${hierarchies[@]}"; do echo 0 >"$hierarchy/${place##*/}/cgroup.procs"; done
mount -t tmpfs -o mode=755 boot "$place"
mkdir -p /run/systemd/nspawn # what systemd-nspawn keeps there goes away with us, too
mount -t tmpfs -o mode=755 boot /run/systemd/nspawn
mkdir "$place"/{upper,work,root}
root=$place/root
mount -t overlay -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" boot "$root"
# Unpacked and not mounted as a layer: /lib of the tree goes where the symbolic link /lib leads.
[ -z "$over" ] || tar -C "$over" -c . | tar -C "$root" -x --keep-directory-symlink

# A boot that is the same everywhere: an identity of its own, no questions, no units that wait for a network or a terminal,
# nothing done at the boot for what was installed since the last one: the command meets the tree like a running machine.
rm -f "$root/etc/machine-id"
systemd-id128 new >"$root/etc/machine-id"
mkdir -p "$root/etc/systemd/system" "$root/var/log/journal" "$root/boot-run" "$root/share"
for unit in console-getty systemd-networkd-wait-online systemd-firstboot apt-daily apt-daily-upgrade \
    systemd-sysusers systemd-journal-catalog-update; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
printf '%q ' "$@" >"$root/boot-run/command"
cat >"$root/etc/systemd/system/boot-run.service" <<X
[Unit]
Description=The command of this run
Wants=dbus.socket
After=multi-user.target dbus.socket
SuccessAction=exit
FailureAction=exit

[Service]
Type=exec
StandardInput=null
StandardOutput=append:/boot-run/output.txt
StandardError=inherit
RuntimeMaxSec=$limit
EnvironmentFile=/boot-run/environment
ExecStart=/bin/bash /boot-run/command
X
cat >"$root/etc/systemd/system/boot-run.target" <<'X'
[Unit]
Requires=multi-user.target
Wants=boot-run.service
X

# What a service may do on a machine (lock memory) its container must not forbid.
status=0
for ((boot = 1; boot <= boots; boot++)); do
    echo "BOOT=$boot" >"$root/boot-run/environment"
    systemd-nspawn --quiet --register=no --keep-unit --console=pipe --link-journal=no --private-network \
        --system-call-filter=@memlock --directory="$root" --machine="${place##*/}" ${share:+--bind-ro="$share:/share"} \
        ${variable:+--setenv="$variable"} \
        --boot systemd.unit=boot-run.target systemd.log_target=journal systemd.show_status=no quiet \
        </dev/null >>"$place/console.txt" 2>&1 || status=$?
done

if [ -s "$root/boot-run/output.txt" ]; then
    cat "$root/boot-run/output.txt"
else
    echo "boot.sh: the command was never run or printed nothing; the container said:" >&2
    cat "$place/console.txt" >&2
    [ "$status" -ne 0 ] || status=1
fi
if [ -n "$logs" ]; then
    cp "$place/console.txt" "$logs/"
    cp "$root/boot-run/output.txt" "$logs/" 2>/dev/null || true
    journalctl --directory="$root/var/log/journal" --output=short-monotonic --no-pager >"$logs/journal.txt" 2>&1 || true
fi
exit "$status"
