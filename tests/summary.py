# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts what meson's test logs say, one line a suite, and ends with the totals.

A TAP program counts with each of its tests, any other program as one. A program that crashed, timed out, or whose
sanitizer complained counts as one failure beside what it had printed. Exit status 1 if anything failed or nothing ran.
"""
import json
import re
import sys

TAP = re.compile(r"^(not )?ok\b[ \d-]*(.*)$")
FIGURE = re.compile(r"^# figure: (.*)$")  # test_figure() of tests/support
totals = {}
failures, skips, figures = [], [], []


def count(test):
    passed = failed = skipped = 0
    name = test["name"].split(" / ")[-1]
    for line in test.get("stdout", "").splitlines():
        match = TAP.match(line)
        if not match:
            continue
        what = match.group(2)
        if re.search(r"# *SKIP", what, re.I):
            skipped += 1
            skips.append(f"{name}: {what}")
        elif match.group(1):
            failed += 1
            failures.append(f"{name}: {what}")
        else:
            passed += 1
    tap = passed + failed + skipped > 0
    if test["result"] == "SKIP" and not tap:
        skipped += 1
        skips.append(f"{name}: {last_line(test)}")
    elif test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and failed == 0:
        failed += 1
        failures.append(f"{name}: {test['result']} (exit status {test['returncode']})\n{tail(test)}")
    elif not tap and test["result"] == "OK":
        passed += 1
    return passed, failed, skipped


def suite_of(test):
    """meson names a test "project:suite / name"."""
    return test["name"].split(" / ")[0].split(":")[-1]


def last_line(test):
    lines = test.get("stdout", "").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def tail(test):
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    return "\n".join("    " + line for line in text.splitlines()[-60:])


for path in sys.argv[1:]:
    try:
        log = open(path, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        continue
    with log:
        for line in log:
            test = json.loads(line)
            suite = totals.setdefault(suite_of(test), [0, 0, 0, 0.0])
            for i, number in enumerate(count(test)):
                suite[i] += number
            suite[3] += test["duration"]
            figures += [m.group(1) for m in map(FIGURE.match, test.get("stdout", "").splitlines()) if m]

for line in failures:
    print("FAILED ", line)
for line in skips:
    print("skipped", line)
for line in figures:
    print("figure ", line)
for suite, (passed, failed, skipped, seconds) in sorted(totals.items()):
    print(f"{suite:10} {passed:5} passed {failed:3} failed {skipped:3} skipped  {seconds:6.1f} s")
passed, failed, skipped = (sum(row[i] for row in totals.values()) for i in range(3))
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
