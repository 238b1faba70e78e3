# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package, an older one first, on a machine that never had it."""
import glob
import os
import pwd

from machine import SHARE, STATE, describe, read, readme_commands, run, test, unit


@test("the command of README.md installs the package, and the service runs")
def _():
    os.makedirs("/root/build/sources")
    older, = glob.glob(f"{SHARE}/older/iothsm_*.deb")
    os.symlink(older, f"/root/build/{os.path.basename(older)}")
    run("bash", "-e", "-c", 'cd /root/build/sources; sudo() { "$@"; }\n' + readme_commands("sudo apt install"))
    user = pwd.getpwnam("iothsm")
    assert user.pw_dir == STATE and user.pw_shell == "/usr/sbin/nologin" and 0 < user.pw_uid < 1000, user
    assert unit("ActiveState", "UnitFileState", "Type", "User") == ("active", "enabled", "notify", "iothsm")
    assert describe()["pinsSealed"] is True
    assert describe()["version"] == "0.0.0"


@test("the package has the files that meson installs, where Debian has them, and its own documents")
def _():
    wanted = set()
    for path in read(f"{SHARE}/installed.txt").splitlines():
        if path.startswith("/usr/share/man/"):
            path += ".gz"
        wanted.add(path.replace("/zsh/site-functions/", "/zsh/vendor-completions/"))
    documents = ("/usr/share/doc/iothsm/", "#")
    wanted = {path for path in wanted if not path.startswith(documents)}
    packaged = {path for path in run("dpkg", "--listfiles", "iothsm").out.split() if not os.path.isdir(path)}
    assert {path for path in packaged if not path.startswith(documents)} == wanted, packaged ^ wanted
    assert "/usr/share/doc/iothsm/examples/50-iothsm-administrators.rules" in packaged
    for path in packaged:
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o022) == (0, 0, 0), path
