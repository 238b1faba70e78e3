# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PIN is set, kept, used and forgotten while all that is said on the bus is recorded: it is left nowhere."""
import contextlib
import os
import pwd
import re
import signal
import subprocess

from machine import (PATIENCE, PIN, STATE, connected, ctl, describe, identity, platform, read_bytes, run, state_files, test,
                     token, unit, wait_for, write)

SHADOW = 1 << 36  # only what AddressSanitizer knows of each byte of the address space is larger than this
MARK = "KilroyWasHere"  # said on the bus after the recording began, and at its end


def memory(pid):
    """All that is in the memory of the process, as a core file that nothing is left out of would hold it."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in maps:
            start, end, access = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if access[0] != "r" or "[v" in line:  # [vvar] and the like are the kernel's
                continue
            address, end = int(start, 16), int(end, 16)
            if end - address > SHADOW:
                continue
            while address < end:
                try:
                    file.seek(address)
                    data = file.read(min(end - address, 1 << 24))
                except OSError:  # never touched, or a file's that was cut
                    break
                if not data:
                    break
                yield data
                address += len(data)


def in_memory(pid, text):
    """Whether it is there, also where two reads meet."""
    before = b""
    for data in memory(pid):
        if text in before + data:
            return True
        before = data[-len(text):]
    return False


@contextlib.contextmanager
def recorded_bus():
    """Everything that goes over the system bus, into a file; the recording is known to run, and to be complete."""
    path = "/root/bus.pcap"
    with open(path, "wb") as file:
        recorder = subprocess.Popen(["dbus-monitor", "--system", "--pcap"], stdout=file, stderr=subprocess.DEVNULL,
                                    **identity(None))

    def mark(number):
        def heard():
            run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner",
                "s", f"{MARK}{number}.x")
            return f"{MARK}{number}.x".encode() in read_bytes(path)
        wait_for(heard, "the recording of the bus")

    try:
        mark(1)
        yield lambda: (mark(2), read_bytes(path))[1]
    finally:
        recorder.terminate()
        recorder.wait(PATIENCE)


@test("a PIN that was set, kept, used and forgotten is found neither on the bus, nor in the daemon's memory, nor on disk")
def _():
    ctl("pin", "forget", "Sample")
    run("systemctl", "restart", "iothsmd")
    pid, pin = unit("MainPID"), PIN.encode()
    assert not in_memory(pid, pin), "the PIN is in the memory of a daemon that never had it"
    with recorded_bus() as record:
        ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist")
        assert in_memory(pid, pin), "the PIN is not found where it has to be: this test is blind"
        connected("the authority's channel")
        write("/root/used.pem", platform("sign-csr", "--ca=Sample Root CA", "--name=used.example.test", "--days=3"))
        ctl("pin", "forget", "Sample")
        said = record()
    assert b"SetPin" in said and b"ForgetPin" in said, "the recording lacks the calls"
    assert pin not in said, "the PIN was said on the bus"
    assert unit("MainPID") == pid and token()["pinState"] == "missing"
    assert not in_memory(pid, pin), "the PIN is left in the daemon's memory"
    assert not [path for path in state_files() if pin in read_bytes(path)], "the PIN is left in the state"
    run("journalctl", "--sync")
    assert PIN not in run("journalctl", "--output=export", "--all").out, "the PIN is left in the journal"
    for name in ("cmdline", "environ"):
        assert pin not in read_bytes(f"/proc/{pid}/{name}"), f"the PIN is in the daemon's {name}"


@test("nobody of the service's user can look into the process, and it leaves no core file")
def _():
    pid, user = unit("MainPID"), pwd.getpwnam("iothsm")
    for name in ("mem", "environ", "maps"):
        looked = run("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "cat",
                     f"/proc/{pid}/{name}", expect=None)
        assert looked.status != 0 and "ermission denied" in looked.err, f"{name}: {looked.err}"
    limits = read_bytes(f"/proc/{pid}/limits").decode()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.M), limits
    os.kill(int(pid), signal.SIGABRT)
    wait_for(lambda: unit("MainPID") not in (pid, "0") and unit("ActiveState") == "active", "systemd to start it again")
    assert unit("ExecMainCode") != "3"  # CLD_DUMPED
    assert not [name for name in os.listdir("/") + os.listdir(STATE) if name.startswith("core")]
    ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist")
    connected("the authority's channel")
    assert describe()["linkState"] == "connected"
