# SPDX-License-Identifier: LGPL-2.1-or-later
"""A token and a CA, and a signature over the link to the platform stand-in."""
import os

from machine import (PIN, SO_PIN, connected, ctl, describe, platform, run, start_platform, test, token, wait_for, write)


@test("SoftHSM2 that is installed while the service runs can be used after a reload")
def _():
    write("/root/pin", PIN, 0o600)
    write("/root/so-pin", SO_PIN, 0o600)
    run("mv", "/usr/lib/softhsm", "/usr/lib/softhsm.away")
    run("systemctl", "restart", "iothsmd")
    early = ctl("softhsm", "create", "Sample", "--so-pin-file=/root/so-pin", "--pin-file=/root/pin", expect=1).err
    assert "apt install softhsm2" in early and "iothsmctl reload" in early, early
    run("mv", "/usr/lib/softhsm.away", "/usr/lib/softhsm")
    ctl("reload")


@test("root makes a token, whose PIN is kept, and gives its PIN, without polkit being asked")
def _():
    run("systemctl", "mask", "--runtime", "--now", "polkit")
    ctl("softhsm", "create", "Sample", "--so-pin-file=/root/so-pin", "--pin-file=/root/pin")
    assert os.path.exists(f"/var/lib/iothsm/pins/{token()['serial']}.sealed")
    ctl("pin", "forget", "Sample")
    ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist")
    assert token()["pinState"] == "set"
    run("systemctl", "unmask", "--runtime", "polkit")


@test("a root CA is provisioned, and a certificate is signed over the link")
def _():
    os.mkdir("/root/platform")
    url = start_platform()
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
