#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds the Debian package from a copy of the sources and prints where it is. What was built from the same sources
# before is taken as it is.
#
#   package.sh SOURCE FOLDER
set -euo pipefail
source=$(realpath -e "$1")
mkdir -p "$2"
folder=$(realpath -e "$2")
exec 9>"$folder/lock"
flock 9

files() { # what git knows or would, or everything where the sources came without git
    if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
    else
        find . -type f -not -path './build*' -not -path './.git/*' -print0
    fi
}
cd "$source"
list=$(mktemp)
trap 'rm -f "$list"' EXIT
files | while IFS= read -rd '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done | sort -z >"$list"
identity=$(xargs -0 sha256sum <"$list" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/identity" 2>/dev/null)" != "$identity" ]; then
    rm -rf "$folder"/{identity,tree} "$folder"/*.deb
    mkdir "$folder/tree"
    tar --null --files-from="$list" -c | tar -C "$folder/tree" -x
    if [ -d /usr/lib/ccache ]; then # debhelper builds with a home of its own
        CCACHE_DIR=$(ccache --get-config cache_dir)
        PATH=/usr/lib/ccache:$PATH
        export CCACHE_DIR
    fi
    # What is needed is in tests/packages.sh, without build-essential.
    (cd "$folder/tree" &&
        DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) \
        >"$folder/log" 2>&1 || { tail -50 "$folder/log" >&2; exit 1; }
    rm -rf "$folder/tree"
    echo "$identity" >"$folder/identity"
fi
echo "$folder"/iothsm_*.deb
