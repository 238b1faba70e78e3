#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian package builds with what ./check builds with: each library that check installs is in Build-Depends.
cd "${SOURCE:?}" || exit 1
# shellcheck source=tests/packages.sh
. tests/packages.sh
status=0
for package in "${packages_build[@]}"; do
    case $package in
    libc6-dev) continue ;; # comes with build-essential
    lib*-dev) ;;
    *) continue ;;
    esac
    grep -qE "^(Build-Depends:| +)[^#]*\b$package\b" debian/control || { echo "debian/control does not name $package"; status=1; }
done
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
grep -q "^iothsm ($version)" debian/changelog || { echo "debian/changelog does not begin with version $version"; status=1; }
exit $status
