# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: root, users, users at a terminal, rules of the administrator."""
import contextlib
import os
import re
import subprocess
import xml.etree.ElementTree

from machine import (AT_ONCE, PASSWORD, REFUSED, at_terminal, ctl, identity, read, run, test, token, unit, wait_for,
                     write)

POLICY = "/usr/share/polkit-1/actions/org.pkiaas.iothsm.policy"
RULES = "/etc/polkit-1/rules.d/10-test.rules"


@test("polkit knows every action with the defaults of the policy")
def _():
    shown, action = {}, None
    for line in run("pkaction", "--verbose").out.splitlines():
        if line and not line[0].isspace():
            action = line.rstrip(":")
        elif match := re.match(r"\s+implicit (any|inactive|active):\s+(\w+)", line):
            shown.setdefault(action, []).append(match.group(2))
    shown = {name: values for name, values in shown.items() if name.startswith("org.pkiaas.iothsm.")}
    wanted = {element.get("id"): [value.text for value in element.find("defaults")]
              for element in xml.etree.ElementTree.parse(POLICY).getroot().iter("action")}
    assert shown == wanted, shown
    admin = ["auth_admin", "auth_admin", "auth_admin_keep"]
    names = ["provision", "manage-secrets", "manage-tokens", "configure", "reload"]
    assert wanted == {**{f"org.pkiaas.iothsm.{name}": admin for name in names},
                      "org.pkiaas.iothsm.destroy": ["auth_admin"] * 3}, wanted


CHANGES = (("reload",), ("generate", "Sample/02", "--type=p256"), ("clear", "Sample/01", "--yes"),
           ("pin", "forget", "Sample"), ("softhsm", "delete", "Sample", "--yes"),
           ("trust", "add", "--for=platform", "/tmp/ca.pem"),
           ("self-sign", "Sample/01", "/tmp/template.pem", "--replace"))


@test("an ordinary user without an agent is refused every change at once")
def _():
    for name in ("ca.pem", "template.pem"):
        write(f"/tmp/{name}", read(f"/root/{name}"))
    for change in CHANGES:
        for quiet in ([], ["--no-ask-password"]):
            result = ctl(*quiet, *change, user="alice", expect=REFUSED)
            assert result.seconds < AT_ONCE, f"{change}: {result}"
    assert token()["pinState"] == "set" and [slot["name"] for slot in token()["slots"]] == ["01"]


@contextlib.contextmanager
def rule(text):
    """polkitd reads its rules again when they change; pkcheck says when it has."""
    write(RULES, f"polkit.addRule(function(action, subject) {{ {text} }});\n")
    try:
        yield
    finally:
        os.unlink(RULES)


@test("a rule of the administrator lets a user do one thing and no other")
def _():
    with rule('if (action.id == "org.pkiaas.iothsm.reload" && subject.user == "alice") return polkit.Result.YES;'):
        wait_for(lambda: ctl("reload", user="alice", expect=None).status == 0, "polkit to read its rules")
        ctl("generate", "Sample/02", "--type=p256", user="alice", expect=REFUSED)
        ctl("reload", user="carol", expect=REFUSED)
    wait_for(lambda: ctl("reload", user="alice", expect=None).status == REFUSED, "polkit to read its rules")


@test("on a terminal the administrator's password is asked for, and lets a user in")
def _():
    status, seen, typed = at_terminal("alice", "iothsmctl", "generate", "Sample/02", "--type=p256", password=PASSWORD)
    assert typed and status == 0, f"exit status {status}: {seen}"
    assert f"make or import a key or certificate on token {token()['serial']}" in seen, seen
    assert PASSWORD not in seen, "the password was echoed"
    assert [slot["name"] for slot in token()["slots"]] == ["01", "02"], token()["slots"]


@test("a wrong password lets nobody in")
def _():
    status, seen, typed = at_terminal("alice", "iothsmctl", "clear", "Sample/02", "--yes", password="wrong" + PASSWORD[:4])
    assert typed and status == REFUSED, f"exit status {status}: {seen}"
    assert [slot["name"] for slot in token()["slots"]] == ["01", "02"], token()["slots"]


@test("with --no-ask-password nobody is asked on a terminal")
def _():
    status, seen, typed = at_terminal("alice", "iothsmctl", "--no-ask-password", "reload", password=PASSWORD)
    assert not typed and status == REFUSED, f"exit status {status}: {seen}"


@test("where polkit can't be asked, ordinary users are refused at once and root is not")
def _():
    run("systemctl", "mask", "--runtime", "--now", "polkit")
    try:
        result = ctl("reload", user="alice", expect=REFUSED)
        assert result.seconds < AT_ONCE and "polkit" in result.err, result
        ctl("reload")
        ctl("clear", "Sample/02", "--yes")
    finally:
        run("systemctl", "unmask", "--runtime", "polkit")
    ctl("status", user="alice")


EXAMPLE = "/usr/share/doc/iothsm/examples/50-iothsm-administrators.rules"


@test("with the example rule members of the administrators' group change everything, but destroy nothing, without a password")
def _():
    run("groupadd", "--system", "iothsm-admin")
    run("usermod", "--append", "--groups", "iothsm-admin", "carol")
    write(RULES, read(EXAMPLE))
    try:
        wait_for(lambda: ctl("reload", user="carol", expect=None).status == 0, "polkit to read its rules")
        ctl("reload", user="alice", expect=REFUSED)
        ctl("clear", "Sample/01", "--yes", user="carol", expect=REFUSED)
    finally:
        os.unlink(RULES)
        run("groupdel", "iothsm-admin")


PCSCD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">
<policyconfig>
{}
</policyconfig>
"""
PCSCD_ACTION = """<action id="org.debian.pcsc-lite.{}"><description>x</description><message>x</message>
<defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>yes</allow_active></defaults></action>"""


@test("where pcscd asks polkit, the service may use smart cards, and no other system user")
def _():
    actions = ("access_pcsc", "access_card")
    path = write("/usr/share/polkit-1/actions/test-pcsc-lite.policy",
                 PCSCD.format("".join(PCSCD_ACTION.format(name) for name in actions)))
    others = subprocess.Popen(["sleep", "600"], **identity("alice"))
    try:
        for name in actions:
            def check(pid, expect):
                return run("pkcheck", "--action-id", f"org.debian.pcsc-lite.{name}", "--process", str(pid), expect=expect)
            wait_for(lambda: "not registered" not in check(others.pid, None).err, "polkit to read its actions")
            check(unit("MainPID"), 0)
            check(others.pid, 1)
    finally:
        others.kill()
        others.wait()
        os.unlink(path)
