# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package removed, then purged."""
import os
import pwd
import re

from machine import CREDENTIALS, STATE, ctl, read, run, test, unit

METRICS = "/var/lib/prometheus/node-exporter/iothsm.prom"
PLACES = ("/etc", "/usr", "/lib", "/run", "/boot", "/opt", "/var/lib", "/var/spool", "/var/tmp", "/var/cache", "/tmp")


@test("removing the package ends the service and keeps what it knows")
def _():
    pid = unit("MainPID")
    assert ctl("status").out
    timer = ("iothsm-metrics.timer",)
    assert run("systemctl", "is-enabled", *timer, expect=1).out == "disabled\n", "the timer is for whoever wants it"
    assert run("systemctl", "is-active", *timer, expect=3).out == "inactive\n"
    os.makedirs(os.path.dirname(METRICS), exist_ok=True)
    run("systemctl", "enable", "--now", *timer)
    run("systemctl", "start", "iothsm-metrics.service")
    assert "iothsm_authority_connected" in read(METRICS)
    run("dpkg", "--remove", "iothsm")
    assert run("systemctl", "is-active", *timer, expect=None).out == "inactive\n", "the timer runs on"
    assert not os.path.exists(METRICS), "node_exporter goes on telling how things were"
    assert not os.path.exists(f"/proc/{pid}") and not os.path.exists("/usr/bin/iothsmctl")
    assert os.listdir(STATE) and os.listdir(CREDENTIALS) and pwd.getpwnam("iothsm")


@test("purging the package leaves nothing of it on the machine")
def _():
    run("dpkg", "--purge", "iothsm")
    run("systemctl", "daemon-reload")
    left = run("find", *PLACES, "-xdev", "-iname", "*iothsm*").out.split()
    assert not left, left
    for name in ("passwd", "group", "shadow"):
        found = run("getent", name, "iothsm", expect=None)
        assert found.status == 2, found
    units = run("systemctl", "list-units", "--all", "--no-legend", "--plain", "*iothsm*").out
    assert not re.search(r"\bloaded\b", units), units
    called = run("busctl", "call", "org.pkiaas.IoTHSM", "/org/pkiaas/IoTHSM", "org.freedesktop.DBus.Peer", "Ping",
                 expect=None)
    assert called.status != 0 and re.search("not provided|not activatable|does not exist", called.err), called
    assert "org.pkiaas.iothsm" not in run("pkaction").out
