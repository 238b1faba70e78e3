# SPDX-License-Identifier: LGPL-2.1-or-later
"""A newer package over the running older one."""
import glob

from machine import SHARE, connected, ctl, describe, run, test, token, unit, wait_for


@test("an upgrade over the running service loses nothing: token, PIN, CA and connection are back with the new version")
def _():
    before, tokens = unit("MainPID"), token()
    assert describe()["version"] == "0.0.0"
    newer, = glob.glob(f"{SHARE}/newer/iothsm_*.deb")
    run("dpkg", "--install", newer)
    assert unit("ActiveState", "UnitFileState") == ("active", "enabled")
    assert unit("MainPID") != before and describe()["version"] != "0.0.0", describe()["version"]
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    connected("the authority's channel")
    assert token()["serial"] == tokens["serial"]
    assert [slot["thumbprint"] for slot in token()["slots"]] == [slot["thumbprint"] for slot in tokens["slots"]]
    ctl("trust", "show")
