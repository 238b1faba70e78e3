# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands on the desk beside the machine: a YubiKey made of software, which goes into a port of the virtual USB
controller, and the platform's stand-in. Both are services of the machine from their first use on, so that they are there
when it is started again: the platform at once, the YubiKey as the hand left it."""
import glob
import os
import shutil
import socket

from machine import PIN, SHARE, connected, ctl, describe, platform, run, token, unit, wait_for, write

SERIAL = "12345678"
FACTORY_PIN = "123456"
OWN_PIN = PIN[:8]  # no longer than a YubiKey takes
CONTROL = "/root/yubikey/control"
YUBIKEY = f"""[Service]
ExecStartPre=modprobe vhci-hcd
ExecStart=/usr/local/bin/virtual-yubikey --state=/root/yubikey --serial={SERIAL} --usb-port=0 %s

[Install]
WantedBy=multi-user.target
"""
PORT = 8080
PLATFORM = f"""[Service]
ExecStart=/usr/local/bin/iothsm-platform serve --directory=/root/platform --port={PORT}

[Install]
WantedBy=multi-user.target
"""


def service(name, text):
    shutil.copy(f"{SHARE}/{name}", "/usr/local/bin/")
    write(f"/etc/systemd/system/{name}.service", text)
    run("systemctl", "enable", "--quiet", "--no-reload", name)  # a new unit is found without, too, and much sooner
    run("systemctl", "start", name)


def install_package():
    package, = glob.glob(f"{SHARE}/iothsm_*.deb")
    run("dpkg", "--install", package)


def say(words):
    """To the one who holds the YubiKey in hand."""
    with socket.socket(socket.AF_UNIX) as hand:
        hand.connect(CONTROL)
        hand.sendall(f"{words}\n".encode())
        answer = hand.makefile().readline().strip()
    assert answer.startswith("ok"), f"{words}: {answer}"
    return answer


def listens(path):
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def take_yubikey():
    """A YubiKey as it comes from the shop, in the hand."""
    service("virtual-yubikey", YUBIKEY % "--unplugged")
    wait_for(lambda: listens(CONTROL), "the virtual YubiKey")
    write("/etc/systemd/system/virtual-yubikey.service", YUBIKEY % "")


def plug():
    say("plug")


def unplug():
    say("unplug")
    say("wait gone")


def wait_for_token(there=True):
    """Looks at nothing that would start the service."""
    def serials():
        return unit("ActiveState") == "active" and [entry["serial"] for entry in describe()["tokens"]] == [SERIAL] * there
    wait_for(serials, "the YubiKey's token" if there else "the YubiKey's token to go")


def provision():
    """A root CA whose key is in the YubiKey, connected with the platform."""
    shutil.copytree(f"{SHARE}/platform", "/root/platform")
    service("iothsm-platform", PLATFORM)
    wait_for(lambda: listens("/root/platform/control.sock"), "the platform's stand-in")
    write("/root/pin", OWN_PIN, 0o600)
    ctl("pin", "change", SERIAL, "--pin-fd=0", "--new-pin-file=/root/pin", given=f"{FACTORY_PIN}\n")
    os.unlink("/root/pin")
    ctl("pin", "set", SERIAL, "--pin-fd=0", "--persist", given=f"{OWN_PIN}\n")
    assert token()["pinState"] == "set"
    write("/etc/iothsm/iothsmd.conf", f"[Platform]\nUrl=http://127.0.0.1:{PORT}\n")
    ctl("reload")
    ctl("trust", "add", "--for=platform", "/root/platform/verification-ca.pem")
    write("/root/template.pem", platform("create-ca", "--name=Sample Root CA"))
    ctl("generate", f"{SERIAL}/9c", "--type=p256")
    write("/root/ca.pem", ctl("self-sign", f"{SERIAL}/9c", "/root/template.pem").out)
    platform("import-certificate", "/root/ca.pem")
    ctl("reload")
    wait_for_authority()


def wait_for_authority():
    wait_for(lambda: describe()["linkState"] == "connected", "the link")
    connected("the authority's channel")


def signs():
    """The platform has a certificate signed, and the openssl command believes it."""
    before = describe()["signatures"]
    write("/root/certificate.pem", platform("sign-csr", "--ca=Sample Root CA", "--name=srv.example.test", "--days=30",
                                            "--dns=srv.example.test"))
    run("openssl", "verify", "-CAfile", "/root/ca.pem", "/root/certificate.pem")
    assert describe()["signatures"] == before + 1
