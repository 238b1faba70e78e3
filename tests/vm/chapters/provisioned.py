# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package, a new YubiKey, and a root CA on it."""
import time

from desk import SERIAL, install_package, plug, provision, signs, take_yubikey, wait_for_token
from machine import run, test, token, unit, wait_for


@test("the package installs, and plugging in a YubiKey starts the service")
def _():
    install_package()
    assert unit("ActiveState", "UnitFileState") == ("active", "enabled")
    take_yubikey()
    run("systemctl", "stop", "iothsmd")
    assert unit("ActiveState") == "inactive"
    started = time.monotonic()
    plug()
    wait_for(lambda: unit("ActiveState") == "active", "the service")
    print(f"# plugged in -> service ready: {time.monotonic() - started:.1f} s")
    wait_for_token()
    print(f"# plugged in -> token: {time.monotonic() - started:.1f} s")
    assert token()["serial"] == SERIAL


@test("a root CA is provisioned on the YubiKey, with PINs that come as file descriptors, and signs")
def _():
    provision()
    signs()
