# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine was started again with the YubiKey in it."""
from desk import signs, wait_for_authority, wait_for_token
from machine import test, token


@test("after a reboot it signs, without anyone having done anything")
def _():
    wait_for_token()
    wait_for_authority()
    assert token()["pinState"] == "set"
    signs()
