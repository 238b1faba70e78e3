# SPDX-License-Identifier: LGPL-2.1-or-later
"""A booted system as the chapters (chapters/) see it: commands of root and of others, the unit, the journal, a terminal.
systemd, dbus-daemon, polkit and the journal are the real ones. Runs as root in the container that boot.sh starts."""
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
import subprocess
import termios
import threading
import time

SHARE = os.environ.get("SHARE", "/share")
STATE = "/var/lib/iothsm"
DROP_IN = "/run/systemd/system/iothsmd.service.d/test.conf"
CREDENTIALS = "/etc/credstore.encrypted"
KEY = f"{CREDENTIALS}/iothsm.key"
BUS = ("org.pkiaas.IoTHSM", "/org/pkiaas/IoTHSM", "org.pkiaas.IoTHSM1.Manager")
REFUSED = 4
NOT_REACHABLE = 5
AT_ONCE = 3  # seconds within which something is refused for which nobody is asked
PATIENCE = int(os.environ.get("PATIENCE", 30))  # seconds after which what is waited for will not come



def known_secrets():
    """Random, so that finding one anywhere means that it came from here; the same over all boots of a run."""
    path = "/root/secrets.json"
    if not os.path.exists(path):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump([secrets.token_hex(12), *(f"{secrets.randbelow(10**12):012}" for _ in range(2))], file)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


PASSWORD, PIN, SO_PIN = known_secrets()

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
    while (asked := time.monotonic()) < limit:
        found = condition()
        if found:
            return found
        # Where asking takes long, on a slow or busy machine, it keeps from coming what is waited for.
        time.sleep(max(0.05, time.monotonic() - asked))
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


def start_platform(port=0, *options):
    """The stand-in, which lives until the machine goes down or it is stopped; where it listens."""
    service = subprocess.Popen([f"{SHARE}/iothsm-platform", "serve", "--directory=/root/platform", f"--port={port}", *options],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **identity(None))
    platforms.append(service)
    return next(line.split()[1] for line in service.stdout if line.startswith("url "))


platforms = []


def stop_platform():
    service = platforms.pop()
    service.terminate()
    service.wait(PATIENCE)


def platform(*arguments):
    return run(f"{SHARE}/iothsm-platform", arguments[0], "--directory=/root/platform", *arguments[1:]).out


def connected(what):
    wait_for(lambda: "connected" in [authority["linkState"] for authority in describe()["authorities"]], what)


def opened_key():
    return subprocess.run(["systemd-creds", "decrypt", "--name=iothsm.key", KEY, "-"], check=True,
                          capture_output=True).stdout


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


def readme_commands(beginning):
    """The commands of the block of README.md's "Install" that has this one, from it on."""
    section = read(f"{SHARE}/README.md").split("### Install\n", 1)[1].split("\n### ", 1)[0]
    block, = [block for block in re.findall(r"```sh\n(.*?)```", section, re.S) if beginning in block]
    return beginning + block.split(beginning, 1)[1]


def forget_earlier_installation():
    """The machine itself may have one; what lies over it here is to be met as if it were the first."""
    run("userdel", "iothsm", expect=None)
    for path in (STATE, CREDENTIALS):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):  # the folder itself may be what was just installed
        for name in os.listdir("/etc/iothsm"):
            run("rm", "--recursive", f"/etc/iothsm/{name}")
    assert "iothsm" not in [entry.pw_name for entry in pwd.getpwall()]


def prepare():
    assert run("systemctl", "is-system-running", "--wait", expect=None).out.strip() in ("running", "degraded")
    if "IOTHSM_INSTALLED" not in os.environ:
        forget_earlier_installation()
    # Build machines forbid packages to start services; and indexing all man pages would take longer than all the rest.
    for path in ("/usr/sbin/policy-rc.d", "/var/lib/man-db/auto-update"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    for user in ("alice", "carol", "root-of-all"):
        run("useradd", "--create-home", user)
    run("chpasswd", given=f"root-of-all:{PASSWORD}\n")
    write("/etc/polkit-1/rules.d/00-test-admin.rules",
          'polkit.addAdminRule(function(action, subject) { return ["unix-user:root-of-all"]; });\n')
