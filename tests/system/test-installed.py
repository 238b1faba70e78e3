# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed tree on a booted system: systemd, dbus-daemon, polkit and the journal are the real ones.

Runs as root in the container that boot.sh starts, with the tree laid over the root directory. /share holds what is not
installed: README.md, the manifest of installed files, the platform stand-in. The tests run in the order in which they
stand here, as an administrator would go: install, start, a token, a CA, other users, changes, trouble.
"""
import base64
import contextlib
import fcntl
import grp
import json
import os
import pwd
import re
import secrets
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import termios
import threading
import time
import xml.etree.ElementTree

SHARE = "/share"
STATE = "/var/lib/iothsm"
DROP_IN = "/run/systemd/system/iothsmd.service.d/test.conf"
CREDENTIALS = "/etc/credstore.encrypted"
KEY = f"{CREDENTIALS}/iothsm.key"
PROGRAMS = ("/usr/bin/iothsmctl", "/usr/libexec/iothsmd", "/usr/libexec/iothsm-seal")
POLICY = "/usr/share/polkit-1/actions/org.pkiaas.iothsm.policy"
RULES = "/etc/polkit-1/rules.d/10-test.rules"
BUS = ("org.pkiaas.IoTHSM", "/org/pkiaas/IoTHSM", "org.pkiaas.IoTHSM1.Manager")
REFUSED = 4
NOT_REACHABLE = 5
AT_ONCE = 3  # seconds within which something is refused for which nobody is asked
PATIENCE = 30  # seconds after which what is waited for will not come

# Random, so that finding one anywhere means that it came from here.
PASSWORD = secrets.token_hex(12)
PIN = str(secrets.randbelow(10**12)).rjust(12, "7")
SO_PIN = str(secrets.randbelow(10**12)).rjust(12, "8")

tests = []


def test(name):
    def register(function):
        tests.append((name, function))
        return function
    return register


class Result:
    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def __str__(self):
        return f"exit status {self.status} after {self.seconds:.1f} s\n{self.out}{self.err}"


def run(*argv, user=None, given="", expect=0):
    """Runs a command without a terminal; another exit status than expected (None: any) fails the test."""
    started = time.monotonic()
    finished = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=90, **identity(user))
    result = Result(finished.returncode, finished.stdout, finished.stderr, time.monotonic() - started)
    assert expect is None or result.status == expect, f"{shlex.join(argv)} (as {user or 'root'}): {result}"
    return result


def identity(user):
    if user is None:
        return {"env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid),
            "cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": entry.pw_dir, "USER": user}}


def ctl(*arguments, **options):
    return run("iothsmctl", *arguments, **options)


def wait_for(condition, what):
    """What comes by itself, but has no event that could be waited for from here."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


def describe(user=None):
    return json.loads(ctl("status", "--json=short", user=user).out)


def token():
    found = json.loads(ctl("list", "--json=short").out)
    tokens = found["tokens"] if isinstance(found, dict) else found
    assert len(tokens) == 1, tokens
    return tokens[0]


def unit(*names):
    out = run("systemctl", "show", "iothsmd", *(f"--property={name}" for name in names)).out
    values = dict(line.split("=", 1) for line in out.splitlines())
    return values[names[0]] if len(names) == 1 else tuple(values[name] for name in names)


def journal(*matches):
    run("journalctl", "--sync")
    out = run("journalctl", "--output=json", "--all", "--unit=iothsmd", *matches).out
    return [json.loads(line) for line in out.splitlines()]


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def state_files():
    return [os.path.join(folder, name) for top in (STATE, "/run/iothsm")
            for folder, _, names in os.walk(top) for name in names]


def message_id(name):
    return re.search(rf'MESSAGE_{name} "([0-9a-f]{{32}})"', read(f"{SHARE}/message-ids.h")).group(1)


class Watcher(threading.Thread):
    """Looks at the command line and the environment of every process, again and again, for texts that must not be
    there."""

    def __init__(self, texts):
        super().__init__(daemon=True)
        self.texts = [text.encode() for text in texts]
        self.stop = threading.Event()
        self.found = set()
        self.looks = 0

    def run(self):
        while not self.stop.wait(0.01):
            self.looks += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                        data = file.read()
                        if any(text in data for text in self.texts):
                            self.found.add(f"{name} of {data[:40]!r}")


watcher = Watcher([PASSWORD, PIN, SO_PIN])


# --- a user at a terminal ---

def at_terminal(user, *argv, password):
    """Runs a command in a session of the user on a terminal of its own; at the first prompt without echo the password is
    typed. Exit status, what was on the terminal, and whether a password was asked for."""
    master, slave = os.openpty()
    os.fchown(slave, pwd.getpwnam(user).pw_uid, grp.getgrnam("tty").gr_gid)

    def take_terminal():
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    # polkit looks for agents of a session; su makes one, and with --session-command it leaves us the terminal.
    process = subprocess.Popen(["su", "--login", user, f"--session-command={shlex.join(argv)}"], stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True, preexec_fn=take_terminal, **identity(None))
    os.close(slave)
    seen, typed = b"", False
    limit = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < limit:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    data = os.read(master, 4096)
                except OSError:  # nobody has the terminal open any more
                    break
                seen += data
            # The agent throws away what was typed before it turned the echo off.
            if not typed and b"assword" in seen and not termios.tcgetattr(master)[3] & termios.ECHO:
                os.write(master, password.encode() + b"\n")
                typed = True
        else:
            raise AssertionError(f"no end in sight on the terminal: {seen.decode(errors='replace')}")
        return process.wait(PATIENCE), seen.decode(errors="replace").replace("\r", ""), typed
    finally:
        os.close(master)
        if process.poll() is None:
            process.kill()
            process.wait()


# --- installed ---

@test("exactly the files of the manifest are installed, owned by root and readable by all")
def _():
    wanted = [line for line in read(f"{SHARE}/installed.txt").splitlines() if line and not line.startswith("#")]
    assert read(f"{SHARE}/tree.txt").split() == sorted(wanted), read(f"{SHARE}/tree.txt")
    for path in wanted:
        status = os.stat(path)
        mode = 0o755 if path in PROGRAMS else 0o644
        assert (status.st_uid, status.st_gid) == (0, 0), f"{path} belongs to {status.st_uid}:{status.st_gid}"
        assert stat.S_IMODE(status.st_mode) == mode, f"{path} has the mode {status.st_mode:o}"


@test("man and the shell find what was installed")
def _():
    for page, section in (("iothsmctl", "1"), ("iothsmd", "8"), ("iothsmd.conf", "5"), ("org.pkiaas.IoTHSM", "5")):
        assert page in run("man", "-w", section, page).out
    completed = run("bash", "-c", ". /usr/share/bash-completion/bash_completion && _completion_loader iothsmctl; "
                    "complete -p iothsmctl")
    assert "iothsmctl" in completed.out, completed


@test("without a service iothsmctl says so at once")
def _():
    run("systemctl", "mask", "--runtime", "iothsmd")
    result = ctl("status", expect=NOT_REACHABLE)
    assert result.seconds < AT_ONCE and "not running" in result.err, result
    run("systemctl", "unmask", "--runtime", "iothsmd")


# --- started as README.md says ---

def readme_commands():
    """The commands of the second block of "Install": what comes after the build."""
    section = read(f"{SHARE}/README.md").split("### Install\n", 1)[1].split("\n### ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.S)[1]


@test("the commands of README.md make the user, tell the bus, and start the service")
def _():
    run("bash", "-e", "-c", 'sudo() { "$@"; }\n' + readme_commands())
    user = pwd.getpwnam("iothsm")
    assert user.pw_dir == STATE and user.pw_shell == "/usr/sbin/nologin" and 0 < user.pw_uid < 1000, user
    assert unit("ActiveState", "Type", "User") == ("active", "notify", "iothsm")
    assert describe()["pinsSealed"] is True


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


@contextlib.contextmanager
def drop_in(text):
    """The unit with a change to it; it is the installed one again afterwards."""
    write(DROP_IN, text)
    run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        os.unlink(DROP_IN)
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "iothsmd")


@test("the units are without fault, and the service has hardly a right on this machine")
def _():
    units = ("iothsmd.service", "iothsm-seal.service")
    verified = run("systemd-analyze", "verify", "--man=no", *units)
    complaints = [line for line in verified.err.splitlines() if "iothsm" in line]
    assert not complaints, complaints
    for name in units:  # the limit is in tenths
        run("systemd-analyze", "security", "--threshold=13", "--no-pager", name)


@test("SIGTERM ends the service with exit status 0, and a call to the bus starts its unit")
def _():
    run("systemctl", "stop", "iothsmd")
    assert unit("ActiveState", "Result", "ExecMainCode", "ExecMainStatus") == ("inactive", "success", "1", "0")
    assert ctl("status", user="alice").out
    assert unit("ActiveState") == "active"


# --- a token and a CA ---

@test("root makes a token and gives its PIN, without polkit being asked")
def _():
    run("systemctl", "mask", "--runtime", "--now", "polkit")
    write("/root/pin", PIN, 0o600)
    write("/root/so-pin", SO_PIN, 0o600)
    ctl("softhsm", "create", "Sample", "--so-pin-file=/root/so-pin", "--pin-file=/root/pin")
    ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist")
    assert token()["pinState"] == "set"
    run("systemctl", "unmask", "--runtime", "polkit")


def platform(*arguments):
    return run(f"{SHARE}/iothsm-platform", arguments[0], "--directory=/root/platform", *arguments[1:]).out


@test("a root CA is provisioned, and a certificate is signed over the link")
def _():
    os.mkdir("/root/platform")
    service = subprocess.Popen([f"{SHARE}/iothsm-platform", "serve", "--directory=/root/platform"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **identity(None))
    url = next(line.split()[1] for line in service.stdout if line.startswith("url "))
    write("/etc/iothsm/iothsmd.conf", f"[Platform]\nUrl={url}\n")
    ctl("reload")
    ctl("trust", "add", "--for=platform", "/root/platform/verification-ca.pem")
    write("/root/template.pem", platform("create-ca", "--name=Sample Root CA"))
    ctl("generate", "Sample/01", "--type=p256")
    write("/root/ca.pem", ctl("self-sign", "Sample/01", "/root/template.pem").out)
    platform("import-certificate", "/root/ca.pem")
    ctl("reload")
    wait_for(lambda: describe()["linkState"] == "connected", "the link")
    connected("the authority's channel")
    write("/root/certificate.pem", platform("sign-csr", "--ca=Sample Root CA", "--name=srv.example.test", "--days=30",
                                            "--dns=srv.example.test"))
    run("openssl", "verify", "-CAfile", "/root/ca.pem", "/root/certificate.pem")
    assert describe()["signatures"] == 1


def connected(what):
    wait_for(lambda: "connected" in [authority["linkState"] for authority in describe()["authorities"]], what)


# --- PINs over a restart ---

@test("a PIN that was kept is there after a restart, and the authority connects again by itself")
def _():
    run("systemctl", "restart", "iothsmd")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    connected("the authority's channel")


@contextlib.contextmanager
def sealing_key(replacement):
    """Another file, or none, in place of the sealing key while the service is started; then the right one again."""
    right = read_bytes(KEY)
    os.unlink(KEY)
    if replacement is not None:
        with open(KEY, "wb") as file:
            file.write(replacement)
    run("systemctl", "restart", "iothsmd")
    try:
        yield
    finally:
        with open(KEY, "wb") as file:
            file.write(right)
        run("systemctl", "unmask", "--runtime", "iothsm-seal")
        run("systemctl", "restart", "iothsmd")


def seal_records(name):
    return journal(f"MESSAGE_ID={message_id(name)}")


@test("the sealing key is made once, is root's, and opens as 32 bytes")
def _():
    status = os.stat(KEY)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600), status
    assert stat.S_IMODE(os.stat(CREDENTIALS).st_mode) == 0o700
    assert len(opened_key()) == 32
    assert len(seal_records("SEALING_KEY_MADE")) == 1 and not seal_records("SEALING_KEY_SET_ASIDE")


def opened_key():
    return subprocess.run(["systemd-creds", "decrypt", "--name=iothsm.key", KEY, "-"], check=True,
                          capture_output=True).stdout


@test("without the sealing key the PIN is missing, nothing of it is lost, and the journal says why")
def _():
    run("systemctl", "mask", "--runtime", "iothsm-seal")
    with sealing_key(None):
        assert token()["pinState"] == "missing" and describe()["pinsSealed"] is False
        assert journal(f"MESSAGE_ID={message_id('PINS_NOT_SEALED')}")
        refused = ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist", expect=2)
        assert "iothsm.key" in refused.err, refused
        write("/root/wrong-pin", PIN[::-1] + "0", 0o600)
        ctl("pin", "set", "Sample", "--pin-file=/root/wrong-pin", expect=1)
        assert token()["pinState"] == "wrong"
        assert len(journal(f"MESSAGE_ID={message_id('PIN_WRONG')}", f"IOTHSM_TOKEN={token()['serial']}")) == 1
    wait_for(lambda: token()["pinState"] == "set", "the PIN")


@test("a sealing key that is missing, damaged or another machine's is replaced, set aside and said; the service runs")
def _():
    right, pins = read_bytes(KEY), f"{STATE}/pins"
    shutil.copytree(pins, "/root/pins")
    foreign = subprocess.run(["systemd-creds", "encrypt", "--with-key=host", "--name=other.key", "-", "-"], check=True,
                             input=b"7" * 32, capture_output=True).stdout
    short = subprocess.run(["systemd-creds", "encrypt", "--with-key=host", "--name=iothsm.key", "-", "-"], check=True,
                           input=b"7" * 5, capture_output=True).stdout
    for number, replacement in enumerate((foreign, short, b"", right[:-9] + right[-8:], os.urandom(4096))):
        with sealing_key(replacement):
            assert unit("ActiveState") == "active" and describe()["pinsSealed"] is True
            assert token()["pinState"] == "missing", token()
            records = seal_records("SEALING_KEY_SET_ASIDE")
            assert len(records) == number + 1, records
            assert read_bytes(records[-1]["IOTHSM_FILE"]) == replacement
            assert len(opened_key()) == 32 and read_bytes(KEY) != replacement
            os.rename(records[-1]["IOTHSM_FILE"], f"/root/key.{number}")
            assert [name for name in os.listdir(pins) if ".unreadable-" in name], os.listdir(pins)
            shutil.rmtree(pins)
            run("cp", "--archive", "/root/pins", pins)
            run("chown", "--recursive", "iothsm:iothsm", pins)
    with sealing_key(None):
        assert describe()["pinsSealed"] is True and token()["pinState"] == "missing"
        assert len(seal_records("SEALING_KEY_MADE")) == 7
        shutil.rmtree(pins)
        run("cp", "--archive", "/root/pins", pins)
        run("chown", "--recursive", "iothsm:iothsm", pins)
    wait_for(lambda: token()["pinState"] == "set", "the PIN")


# --- who may do what ---

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


# --- in operation ---

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


@test("a method that hangs the service has the watchdog end it; a service that works is let be, and one that was killed is back")
def _():
    assert unit("WatchdogUSec") == "30s"
    configuration = read("/etc/iothsm/iothsmd.conf")
    with drop_in("[Service]\nWatchdogSec=1s\n"):
        run("systemctl", "restart", "iothsmd")
        before = unit("MainPID")
        started = int(unit("WatchdogTimestampMonotonic"))
        wait_for(lambda: int(unit("WatchdogTimestampMonotonic")) > started + 2_000_000, "keep-alive messages over two limits")
        assert unit("MainPID", "NRestarts") == (before, "0")
        # A configuration file that nobody ever writes to the end of: the call never returns from opening it.
        os.unlink("/etc/iothsm/iothsmd.conf")
        os.mkfifo("/etc/iothsm/iothsmd.conf", 0o644)
        hanging = subprocess.Popen(["iothsmctl", "reload"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   **identity(None))
        wait_for(lambda: unit("Result") == "watchdog" or unit("NRestarts") != "0", "the watchdog")
        os.unlink("/etc/iothsm/iothsmd.conf")
        write("/etc/iothsm/iothsmd.conf", configuration)
        assert hanging.communicate(timeout=PATIENCE)[1] and hanging.returncode != 0
        wait_for(lambda: unit("NRestarts", "ActiveState") == ("1", "active"), "systemd to start the service again")
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


def forget_earlier_installation():
    """The machine itself may have one; what lies over it here is to be met as if it were the first."""
    run("userdel", "iothsm", expect=None)
    for path in (STATE, "/etc/iothsm"):
        shutil.rmtree(path, ignore_errors=True)
    assert "iothsm" not in [entry.pw_name for entry in pwd.getpwall()]


def prepare():
    assert run("systemctl", "is-system-running", "--wait", expect=None).out.strip() in ("running", "degraded")
    forget_earlier_installation()
    for user in ("alice", "carol", "root-of-all"):
        run("useradd", "--create-home", user)
    run("chpasswd", given=f"root-of-all:{PASSWORD}\n")
    write("/etc/polkit-1/rules.d/00-test-admin.rules",
          'polkit.addAdminRule(function(action, subject) { return ["unix-user:root-of-all"]; });\n')


def main():
    prepare()
    watcher.start()
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
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
    watcher.stop.set()
    return 1 if failed else 0


sys.exit(main())
