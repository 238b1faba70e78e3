# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes of the configuration, trouble, and the journal."""
import contextlib
import ctypes
import os
import re
import signal
import subprocess

from machine import (PATIENCE, connected, ctl, describe, drop_in, identity, journal, message_id, read, run, test, token,
                     unit, wait_for, write)


@test("SIGHUP reads the configuration again")
def _():
    before = unit("MainPID")
    configuration = read("/etc/iothsm/iothsmd.conf")
    write("/etc/iothsm/iothsmd.conf", "[Platform]\nUrl=http://127.0.0.1:9\n")
    run("systemctl", "reload", "iothsmd")
    wait_for(lambda: describe()["platformUrl"] == "http://127.0.0.1:9", "the new configuration")
    write("/etc/iothsm/iothsmd.conf", "[Platform]\nUrl=\n[Nonsense\n")
    run("systemctl", "reload", "iothsmd")
    wait_for(lambda: [r for r in journal("PRIORITY=3") if "iothsmd.conf" in r["MESSAGE"]], "the complaint")
    assert describe()["platformUrl"] == "http://127.0.0.1:9"
    write("/etc/iothsm/iothsmd.conf", configuration)
    run("systemctl", "reload", "iothsmd")
    connected("the authority's channel")
    assert unit("ActiveState", "MainPID") == ("active", before)


PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


@contextlib.contextmanager
def held(pid):
    """The main thread of the process stands still, as in a call that never returns; gives a function that tells whether
    the process has ended meanwhile."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if ptrace(request, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    assert os.WIFSTOPPED(os.waitpid(pid, WALL)[1])

    def exited():
        ended, status = os.waitpid(pid, WALL | os.WNOHANG)
        return ended == pid and not os.WIFSTOPPED(status)
    yield exited


def journal_of_manager():
    run("journalctl", "--sync")
    return run("journalctl", "--output=cat", "--unit=iothsmd", "_PID=1").out.splitlines()


@test("a method that hangs the service has the watchdog end it; a service that works is let be, and one that was killed is back")
def _():
    assert unit("WatchdogUSec") == "30s"
    with drop_in("[Service]\nWatchdogSec=1s\n"):
        run("systemctl", "restart", "iothsmd")
        before = unit("MainPID")
        started = int(unit("WatchdogTimestampMonotonic"))
        wait_for(lambda: int(unit("WatchdogTimestampMonotonic")) > started + 2_000_000, "keep-alive messages over two limits")
        assert unit("MainPID", "NRestarts") == (before, "0")
        with held(int(before)) as exited:  # the other threads run, but whoever calls now waits for the main loop
            hanging = subprocess.Popen(["iothsmctl", "reload"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                       **identity(None))
            wait_for(exited, "the watchdog to end the process")
        assert hanging.communicate(timeout=PATIENCE)[1] and hanging.returncode != 0
        wait_for(lambda: unit("NRestarts", "ActiveState") == ("1", "active"), "systemd to start the service again")
        assert [r for r in journal_of_manager() if "Watchdog timeout" in r], "it was not the watchdog"
        assert unit("MainPID") != before
        connected("the authority's channel after the watchdog")
    before = unit("MainPID")
    os.kill(int(before), signal.SIGKILL)
    wait_for(lambda: unit("MainPID") not in (before, "0") and unit("ActiveState") == "active", "systemd to start it again")
    connected("the authority's channel after SIGKILL")
    assert token()["pinState"] == "set"


@test("records of the journal have fields, and the catalog explains them")
def _():
    started = journal(f"MESSAGE_ID={message_id('STARTED')}")
    assert started and all(record["SYSLOG_IDENTIFIER"] == "iothsmd" for record in started)
    serial = token()["serial"]
    assert journal(f"MESSAGE_ID={message_id('TOKEN_APPEARED')}", f"IOTHSM_TOKEN={serial}")
    assert journal("IOTHSM_METHOD=GenerateKey", f"IOTHSM_TOKEN={serial}")
    provisioned = journal(f"MESSAGE_ID={message_id('PROVISIONED')}")
    assert [(r["IOTHSM_TOKEN"], r["IOTHSM_SLOT"]) for r in provisioned] == [(serial, "01")], provisioned
    signed = journal(f"MESSAGE_ID={message_id('SIGNED')}")
    assert len(signed) == 1 and signed[0]["IOTHSM_KIND"] == "csr" and signed[0]["IOTHSM_REQUEST"], signed
    text = run("journalctl", "--catalog", "--no-pager", "--unit=iothsmd").out
    for subject in ("The IoT-HSM service is running", f"Token {serial} appeared", "Subject: Signed",
                    "Subject: PINs are kept in memory only", "Subject: A slot was provisioned",
                    "Subject: A token refused its PIN"):
        assert subject in text, f"{subject} is not in the explained journal"
    left = [line for line in text.splitlines() if re.search(r"@IOTHSM_\w+@", line)]
    assert not left, left
