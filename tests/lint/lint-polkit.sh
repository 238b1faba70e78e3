#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# One wrong value makes polkit ignore a whole policy without a word; and each action must say that the service, which is
# not root, may ask about it.
cd "${SOURCE:?}/polkit" || exit 1
policy=org.pkiaas.iothsm.policy
xmllint --noout --nonet "$policy" || exit 1
value() { xmllint --nonet --xpath "$1" "$policy"; }
status=0
say() { echo "$policy: $*"; status=1; }
actions=$(value 'count(//action)')
[ "$actions" -ge 6 ] || say "only $actions actions"
good='.="no" or .="yes" or .="auth_self" or .="auth_self_keep" or .="auth_admin" or .="auth_admin_keep"'
[ "$(value "count(//defaults/*[$good])")" = $((actions * 3)) ] || say "a default is missing or no value that polkit knows"
[ "$(value 'count(//action/annotate[@key="org.freedesktop.policykit.owner" and .="unix-user:iothsm"])')" = "$actions" ] ||
    say "an action lacks its owner unix-user:iothsm"
[ "$(value 'count(//action[description and message])')" = "$actions" ] || say "an action lacks description or message"
[ "$(value 'count(//action[starts-with(@id, "org.pkiaas.iothsm.")])')" = "$actions" ] || say "an action has a foreign name"
# Rules are JavaScript for polkit alone; that they work is shown on a booted system (tests/system).
for rules in *.rules; do
    grep -q 'polkit.addRule' "$rules" || { echo "$rules: no rule"; status=1; }
done
exit $status
