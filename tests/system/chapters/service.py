# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service as it was installed: on the bus, in its sandbox, for everybody to look at."""
import errno
import os
import pwd
import re
import stat

from machine import (AT_ONCE, BUS, NOT_REACHABLE, STATE, ctl, describe, read, run, state_files, test, unit, wait_for, write)


@test("man and the shell find what was installed")
def _():
    for page, section in (("iothsmctl", "1"), ("iothsmd", "8"), ("iothsmd.conf", "5"), ("org.pkiaas.IoTHSM", "5")):
        assert page in run("man", "-w", section, page).out
    completed = run("bash", "-c", ". /usr/share/bash-completion/bash_completion && _completion_loader iothsmctl; "
                    "complete -p iothsmctl")
    assert "iothsmctl" in completed.out, completed


@test("without a service iothsmctl says so at once")
def _():
    run("systemctl", "mask", "--runtime", "--now", "iothsmd")
    try:
        result = ctl("status", expect=NOT_REACHABLE)
        assert result.seconds < AT_ONCE and "not running" in result.err, result
    finally:
        run("systemctl", "unmask", "--runtime", "iothsmd")
        run("systemctl", "start", "iothsmd")


@test("the service is ready when it is started, and its status is in words")
def _():
    text = unit("StatusText")
    assert re.search(r"[a-z]{3,} [a-z]{2,}", text), text
    assert ctl("status").out


@test("the name on the bus belongs to the user iothsm, and to nobody else")
def _():
    owner = run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                "GetConnectionUnixUser", "s", BUS[0]).out.split()
    assert owner == ["u", str(pwd.getpwnam("iothsm").pw_uid)], owner
    for user in (None, "alice"):
        result = run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                     "RequestName", "su", "org.pkiaas.IoTHSM", "0", user=user, expect=None)
        assert result.status != 0 and "denied" in result.err, result


@test("everybody sees the status")
def _():
    assert ctl("status").out and ctl("status", user="alice").out
    assert describe("alice")["version"] == describe()["version"]


@test("the state is the service's alone")
def _():
    assert stat.S_IMODE(os.stat(STATE).st_mode) == 0o700
    for path in state_files():
        status = os.lstat(path)
        assert status.st_uid == pwd.getpwnam("iothsm").pw_uid, f"{path} belongs to {status.st_uid}"
        assert not status.st_mode & 0o077, f"{path} has the mode {status.st_mode:o}"


@test("the units are without fault, and the service has hardly a right on this machine")
def _():
    units = ("iothsmd.service", "iothsm-seal.service", "iothsm-metrics.service", "iothsm-metrics.timer")
    verified = run("systemd-analyze", "verify", "--man=no", *units)
    complaints = [line for line in verified.err.splitlines() if "iothsm" in line]
    assert not complaints, complaints
    for name in units[:3]:  # the limit is in tenths
        run("systemd-analyze", "security", "--threshold=13", "--no-pager", name)


@test("SIGTERM ends the service with exit status 0, and a call to the bus starts its unit")
def _():
    run("systemctl", "stop", "iothsmd")
    assert unit("ActiveState", "Result", "ExecMainCode", "ExecMainStatus") == ("inactive", "success", "1", "0")
    assert ctl("status", user="alice").out
    wait_for(lambda: unit("ActiveState") == "active", "the service to be ready")  # it answers a little earlier


@test("the running service has no capability, sees no home and no device, and writes into its state and nowhere else")
def _():
    pid = unit("MainPID")
    status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, f"{name} {status[name]}"
    for name in ("mnt", "user", "ipc"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
    seen = f"/proc/{pid}/root"  # as it sees the files; root may do more with them than it, but not write
    for folder in ("/etc", "/usr", "/var/lib", "/var/log", "/etc/iothsm", "/sys"):
        try:
            os.unlink(write(f"{seen}{folder}/test", ""))
            raise AssertionError(f"{folder} can be written to")
        except OSError as error:
            assert error.errno in (errno.EROFS, errno.EACCES, errno.EPERM), error
    configuration = os.stat("/etc/iothsm")
    assert (configuration.st_uid, stat.S_IMODE(configuration.st_mode)) == (0, 0o755), configuration
    assert not os.listdir(f"{seen}/home") and not os.listdir(f"{seen}/root") and not os.listdir(f"{seen}/tmp")
    assert not os.path.exists(f"{seen}/dev/kmsg") and not os.path.exists(f"{seen}/proc/sys")
    os.unlink(write(f"{seen}{STATE}/test", ""))
