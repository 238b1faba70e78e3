# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the chapters that are named, in their order, as one story that an administrator could live through: TAP.

  run-chapters.py CHAPTER... [--next-boot CHAPTER...]...

Runs as root in the container that boot.sh starts, where /share holds what is not installed: the sources of the tests,
README.md, the platform stand-in. What stands behind --next-boot runs when the machine has been started again, which is
when boot.sh calls with BOOT=2; and so on. tests/vm tells stories with it in virtual machines, too."""
import importlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402


def tests_of(chapters):
    machine.tests.clear()
    for name in chapters:
        importlib.import_module(f"chapters.{name}")
    return list(machine.tests)


def tell(tests, number):
    failed = 0
    for name, function in tests:
        number += 1
        started = time.monotonic()
        try:
            function()
            print(f"ok {number} {name}")
        except Exception as error:  # whatever it is, the next test runs
            failed += 1
            print(f"not ok {number} {name}")
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else 0
            for text in f"line {line}: {type(error).__name__}: {error}".splitlines():
                print(f"# {text}")
        print(f"# {time.monotonic() - started:.1f} s", flush=True)
    return failed


def boots_of(words):
    boots = [[]]
    for word in words:
        if word == "--next-boot":
            boots.append([])
        else:
            boots[-1].append(word)
    return boots


def main():
    boots = [tests_of(chapters) for chapters in boots_of(sys.argv[1:])]
    boot = int(os.environ.get("BOOT", "1")) - 1
    if boot == 0:
        machine.prepare()
        print(f"1..{sum(map(len, boots))}", flush=True)
    if "traces" in sys.argv:  # which tells what it saw
        machine.watcher.start()
    failed = tell(boots[boot], sum(map(len, boots[:boot])))
    machine.watcher.stop.set()
    return 1 if failed else 0


sys.exit(main())
