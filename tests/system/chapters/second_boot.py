# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same machine, started again."""
from machine import (connected, ctl, describe, platform, read, run, start_platform, test, token, unit, wait_for, write)


@test("after a boot the service is there by itself, before anybody calls it")
def _():
    wait_for(lambda: unit("ActiveState") == "active", "the service to be started by the boot")
    assert unit("NRestarts") == "0"


@test("after a boot token, PIN and CA are as before, and what the CA signs is good")
def _():
    start_platform(port=int(read("/etc/iothsm/iothsmd.conf").rsplit(":", 1)[1]))
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    ctl("reload")
    connected("the authority's channel")
    write("/root/second.pem", platform("sign-csr", "--ca=Sample Root CA", "--name=second.example.test", "--days=30",
                                       "--dns=second.example.test"))
    run("openssl", "verify", "-CAfile", "/root/ca.pem", "/root/second.pem")
    assert describe()["pinsSealed"] is True
