#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every source file says its licence in one of its first three lines.
cd "${SOURCE:?}" || exit 1
status=0
while read -r file; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: LGPL-2.1-or-later' || { echo "no licence: $file"; status=1; }
done < <(find daemon dbus polkit cli tests data -name '*.[ch]' -o -name '*.sh' -path 'tests/*' -o -name '*.py' -o -name meson.build)
exit $status
