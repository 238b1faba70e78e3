# SPDX-License-Identifier: LGPL-2.1-or-later
"""A YubiKey (a virtual one, in a reader of the machine's own pcscd) and a CA on it, through all of the sandbox."""
import json
import subprocess

from machine import (PATIENCE, SHARE, connected, ctl, describe, identity, journal, message_id, platform, run, test, wait_for,
                     write)

SERIAL = "13570246"
PORT = 35963  # where the driver listens for the card
READER = f"""FRIENDLYNAME "Yubico YubiKey OTP+FIDO+CCID"
DEVICENAME /dev/null:{PORT:#x}
LIBPATH /usr/lib/pcsc/drivers/serial/libifdvpcd.so
CHANNELID {PORT:#x}
"""


def yubikey():
    found = json.loads(ctl("list", "--json=short").out)
    tokens = found["tokens"] if isinstance(found, dict) else found
    return next((token for token in tokens if token["serial"] == SERIAL), None)


plugged = []


@test("a YubiKey that is plugged in is there without anybody asking for it")
def _():
    write("/etc/reader.conf.d/vpcd", READER)
    run("systemctl", "restart", "pcscd")
    plugged.append(subprocess.Popen([f"{SHARE}/virtual-yubikey", "--state=/root/yubikey", f"--serial={SERIAL}",
                                     f"--vpcd={PORT}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    **identity(None)))
    wait_for(yubikey, "the YubiKey")
    assert yubikey()["kind"] == "yubikey", yubikey()
    assert journal(f"MESSAGE_ID={message_id('TOKEN_APPEARED')}", f"IOTHSM_TOKEN={SERIAL}")


@test("a CA on the YubiKey signs over the link, from inside the sandbox")
def _():
    ctl("pin", "set", SERIAL, "--factory", "--persist")
    template = platform("create-ca", "--name=YubiKey Root CA")
    write("/root/yubikey-template.pem", template)
    ctl("generate", f"{SERIAL}/9c", "--type=p256")
    write("/root/yubikey-ca.pem", ctl("self-sign", f"{SERIAL}/9c", "/root/yubikey-template.pem").out)
    platform("import-certificate", "/root/yubikey-ca.pem")
    ctl("reload")
    wait_for(lambda: [a["linkState"] for a in describe()["authorities"]] == ["connected"] * 2, "both authorities' channels")
    write("/root/by-yubikey.pem", platform("sign-csr", "--ca=YubiKey Root CA", "--name=srv.example.test", "--days=30",
                                           "--dns=srv.example.test"))
    run("openssl", "verify", "-CAfile", "/root/yubikey-ca.pem", "/root/by-yubikey.pem")


@test("a YubiKey that is pulled out is gone, and the other token signs on")
def _():
    key, = plugged
    key.terminate()
    key.wait(PATIENCE)
    wait_for(lambda: yubikey() is None, "the YubiKey to be gone")
    connected("the other authority's channel")
    platform("sign-csr", "--ca=Sample Root CA", "--name=other.example.test", "--days=3")
