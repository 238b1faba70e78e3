# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is left in the journal, in the state, and of the processes."""
import base64
import re

from machine import (PASSWORD, PIN, SO_PIN, journal, opened_key, read_bytes, run, state_files, test, unit, watcher)


@test("no PIN, password or sealing key is in the journal, in a command line, in an environment, or in the state")
def _():
    run("journalctl", "--sync")
    everything = run("journalctl", "--output=export", "--all").out
    for name, text in {"the password": PASSWORD, "the PIN": PIN, "the SO PIN": SO_PIN}.items():
        assert text not in everything, f"{name} is in the journal"
        assert not [path for path in state_files() if text.encode() in read_bytes(path)], f"{name} is in the state"
    key = opened_key()
    for form in (key, key.hex().encode(), base64.b64encode(key)):
        assert form not in everything.encode(), "the sealing key is in the journal"
        assert not [path for path in state_files() if form in read_bytes(path)], "the sealing key is in the state"
    assert watcher.looks > 100 and not watcher.found, watcher.found


@test("with a CA and a connection, too, the service ends cleanly; no unit failed")
def _():
    run("systemctl", "stop", "iothsmd")
    assert unit("Result", "ExecMainCode", "ExecMainStatus") == ("success", "1", "0")
    failed = run("systemctl", "list-units", "--failed", "--no-legend", "--plain").out
    assert failed == "", failed


@test("no sanitizer had anything to say")
def _():
    said = [record["MESSAGE"] for record in journal()
            if re.search(r"runtime error:|Sanitizer", str(record.get("MESSAGE")))]
    assert not said, said
