# SPDX-License-Identifier: LGPL-2.1-or-later
"""The YubiKey is pulled out and plugged in again; nobody tells the service anything."""
import time

from desk import plug, signs, unplug, wait_for_authority, wait_for_token
from machine import describe, journal, message_id, run, test, token, unit


def nothing_is_connected():
    return all(authority["linkState"] != "connected" for authority in describe()["authorities"])


def replug():
    started = time.monotonic()
    plug()
    wait_for_token()
    wait_for_authority()
    print(f"# plugged in -> connected: {time.monotonic() - started:.1f} s")


@test("pulled out, the YubiKey is gone, and its CA with it")
def _():
    started = time.monotonic()
    unplug()
    wait_for_token(there=False)
    print(f"# pulled out -> gone: {time.monotonic() - started:.1f} s")
    assert nothing_is_connected()
    assert unit("ActiveState") == "active"


@test("plugged in again, it signs, without a PIN being given")
def _():
    replug()
    assert token()["pinState"] == "set"
    signs()


@test("pulled out and plugged in faster than anybody can look, it signs")
def _():
    for _ in range(3):
        unplug()
        plug()
    wait_for_token()
    wait_for_authority()
    signs()


@test("plugged in while the service is stopped, it starts the service and signs")
def _():
    unplug()
    run("systemctl", "stop", "iothsmd")
    replug()
    signs()


@test("in all of this no PIN was refused and the service never failed")
def _():
    assert not journal(f"MESSAGE_ID={message_id('PIN_WRONG')}")
    assert token()["pinState"] == "set"
    assert unit("NRestarts", "Result") == ("0", "success")
