# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `meson install` installs, set up by hand as README.md says."""
import os
import pwd
import stat

from machine import SHARE, STATE, describe, read, readme_commands, run, test, unit


PROGRAMS = ("/usr/bin/iothsmctl", "/usr/libexec/iothsmd", "/usr/libexec/iothsm-seal")


@test("meson installs exactly the files of the manifest, owned by root and readable by all")
def _():
    wanted = [line for line in read(f"{SHARE}/installed.txt").splitlines() if line and not line.startswith("#")]
    assert read(f"{SHARE}/tree.txt").split() == sorted(wanted), read(f"{SHARE}/tree.txt")
    for path in wanted:
        status = os.stat(path)
        mode = 0o755 if path in PROGRAMS else 0o644
        assert (status.st_uid, status.st_gid) == (0, 0), f"{path} belongs to {status.st_uid}:{status.st_gid}"
        assert stat.S_IMODE(status.st_mode) == mode, f"{path} has the mode {status.st_mode:o}"


@test("the commands of README.md make the user, tell the bus, and start the service")
def _():
    run("bash", "-e", "-c", 'sudo() { "$@"; }\n' + readme_commands("sudo systemd-sysusers"))
    user = pwd.getpwnam("iothsm")
    assert user.pw_dir == STATE and user.pw_shell == "/usr/sbin/nologin" and 0 < user.pw_uid < 1000, user
    assert unit("ActiveState", "Type", "User") == ("active", "notify", "iothsm")
    assert describe()["pinsSealed"] is True
