# SPDX-License-Identifier: LGPL-2.1-or-later
"""PINs at rest and the key that seals them, and what is left of a PIN when it is forgotten."""
import contextlib
import os
import shutil
import stat
import subprocess

from machine import (CREDENTIALS, KEY, PIN, STATE, connected, ctl, describe, journal, message_id, opened_key, read_bytes,
                     run, test, token, unit, wait_for, write)


@test("a PIN that was kept is there after a restart, and the authority connects again by itself")
def _():
    run("systemctl", "restart", "iothsmd")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    connected("the authority's channel")


@contextlib.contextmanager
def sealing_key(replacement):
    """Another file, or none, in place of the sealing key while the service is started; then the right one again."""
    right = read_bytes(KEY)
    os.unlink(KEY)
    if replacement is not None:
        with open(KEY, "wb") as file:
            file.write(replacement)
    run("systemctl", "restart", "iothsmd")
    try:
        yield
    finally:
        with open(KEY, "wb") as file:
            file.write(right)
        run("systemctl", "unmask", "--runtime", "iothsm-seal")
        run("systemctl", "restart", "iothsmd")


def seal_records(name):
    return journal(f"MESSAGE_ID={message_id(name)}")


@test("the sealing key is made once, is root's, and opens as 32 bytes")
def _():
    status = os.stat(KEY)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600), status
    assert stat.S_IMODE(os.stat(CREDENTIALS).st_mode) == 0o700
    assert len(opened_key()) == 32
    assert len(seal_records("SEALING_KEY_MADE")) == 1 and not seal_records("SEALING_KEY_SET_ASIDE")


@test("without the sealing key the PIN is missing, nothing of it is lost, and the journal says why")
def _():
    run("systemctl", "mask", "--runtime", "iothsm-seal")
    with sealing_key(None):
        assert token()["pinState"] == "missing" and describe()["pinsSealed"] is False
        assert journal(f"MESSAGE_ID={message_id('PINS_NOT_SEALED')}")
        refused = ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist", expect=2)
        assert "iothsm.key" in refused.err, refused
        write("/root/wrong-pin", PIN[::-1] + "0", 0o600)
        ctl("pin", "set", "Sample", "--pin-file=/root/wrong-pin", expect=1)
        assert token()["pinState"] == "wrong"
        assert len(journal(f"MESSAGE_ID={message_id('PIN_WRONG')}", f"IOTHSM_TOKEN={token()['serial']}")) == 1
    wait_for(lambda: token()["pinState"] == "set", "the PIN")


@test("a sealing key that is missing, damaged or another machine's is replaced, set aside and said; the service runs")
def _():
    right, pins = read_bytes(KEY), f"{STATE}/pins"
    shutil.copytree(pins, "/root/pins")
    foreign = subprocess.run(["systemd-creds", "encrypt", "--with-key=host", "--name=other.key", "-", "-"], check=True,
                             input=b"7" * 32, capture_output=True).stdout
    short = subprocess.run(["systemd-creds", "encrypt", "--with-key=host", "--name=iothsm.key", "-", "-"], check=True,
                           input=b"7" * 5, capture_output=True).stdout
    for number, replacement in enumerate((foreign, short, b"", right[:-9] + right[-8:], os.urandom(4096))):
        with sealing_key(replacement):
            assert unit("ActiveState") == "active" and describe()["pinsSealed"] is True
            assert token()["pinState"] == "missing", token()
            records = seal_records("SEALING_KEY_SET_ASIDE")
            assert len(records) == number + 1, records
            assert read_bytes(records[-1]["IOTHSM_FILE"]) == replacement
            assert len(opened_key()) == 32 and read_bytes(KEY) != replacement
            os.rename(records[-1]["IOTHSM_FILE"], f"/root/key.{number}")
            assert [name for name in os.listdir(pins) if ".unreadable-" in name], os.listdir(pins)
            shutil.rmtree(pins)
            run("cp", "--archive", "/root/pins", pins)
            run("chown", "--recursive", "iothsm:iothsm", pins)
    with sealing_key(None):
        assert describe()["pinsSealed"] is True and token()["pinState"] == "missing"
        assert len(seal_records("SEALING_KEY_MADE")) == 7
        shutil.rmtree(pins)
        run("cp", "--archive", "/root/pins", pins)
        run("chown", "--recursive", "iothsm:iothsm", pins)
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
