# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sealing key that is bound to a TPM, and copies of the disk on machines with another one. The TPM is swtpm's, with which
systemd talks over TCP; so the seal's unit, which needs no network, gets one here."""
import contextlib
import os
import shutil
import socket

from machine import (CREDENTIALS, KEY, PIN, SO_PIN, STATE, ctl, describe, journal, message_id, opened_key,
                     read_bytes, run, test, token, unit, wait_for, write)

HOST_KEY = "/var/lib/systemd/credential.secret"
PORT = 2321
TPM = f"swtpm:host=127.0.0.1,port={PORT}"
DEVICE = "/dev/tpmrm0"  # which says that there is a TPM; systemd is told where
DROP_IN = f"""[Service]
Environment=SYSTEMD_TPM2_DEVICE={TPM} TPM2TOOLS_TCTI={TPM}
PrivateNetwork=no
RestrictAddressFamilies=AF_UNIX AF_INET
"""


# A TPM without the kernel's resource manager is full of sessions after a few uses.
MANAGED = """#!/bin/sh
for what in --loaded-session --saved-session --transient-object; do tpm2_flushcontext $what; done >/dev/null 2>&1
exec /usr/bin/systemd-creds "$@"
"""


def take_tpm_away():
    # In good order, or the TPM takes it for an attack and locks itself after a few times.
    run("tpm2_shutdown", f"--tcti={TPM}", "--clear", expect=None)
    run("systemctl", "stop", "swtpm", expect=None)


def use_tpm(name):
    """The machine has this TPM from now on."""
    take_tpm_away()
    os.makedirs(f"/root/{name}", exist_ok=True)
    run("systemd-run", "--quiet", "--unit=swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", f"dir=/root/{name}", "--server",
        f"type=tcp,port={PORT}", "--ctrl", f"type=tcp,port={PORT + 1}", "--flags", "not-need-init,startup-clear")

    def listening():
        with contextlib.closing(socket.socket()) as connection:
            return connection.connect_ex(("127.0.0.1", PORT + 1)) == 0
    wait_for(listening, "swtpm")


def start(tpm):
    run("systemctl", "stop", "iothsmd")
    if tpm:
        use_tpm(tpm)
    else:
        take_tpm_away()
    run("systemctl", "start", "iothsmd")
    assert unit("ActiveState") == "active"


def restore(copy):
    """The disk is as it was copied: state, sealing key and the host's own key."""
    run("systemctl", "stop", "iothsmd")
    for path in (STATE, CREDENTIALS):
        shutil.rmtree(path)
        run("cp", "--archive", f"{copy}{path}", path)
    run("cp", "--archive", f"{copy}{HOST_KEY}", HOST_KEY)


def useless(what):
    """The service runs, but the copied PIN does not open: said in the status and in the journal, and a new key is there."""
    assert describe()["pinsSealed"] is True
    assert token()["pinState"] == "missing", f"{what} opens the PIN"
    records = journal(f"MESSAGE_ID={message_id('SEALING_KEY_SET_ASIDE')}")
    assert records and os.path.exists(records[-1]["IOTHSM_FILE"]), records
    return len(records)


@test("with a TPM the sealing key is bound to it and to the machine's own key")
def _():
    write("/etc/systemd/system/iothsm-seal.service.d/tpm.conf", DROP_IN)
    write("/usr/local/bin/systemd-creds", MANAGED, 0o755)
    write(DEVICE, "")
    run("systemd-sysusers")
    run("systemctl", "daemon-reload")
    run("systemctl", "reload", "dbus")
    start("tpm")
    assert describe()["pinsSealed"] is True and os.path.exists(KEY)
    without = run("systemd-creds", "decrypt", "--name=iothsm.key", KEY, "-", expect=None)
    assert without.status != 0, "the key opens without the TPM"


@test("a PIN that is sealed with the TPM is there after a restart")
def _():
    write("/root/pin", PIN, 0o600)
    write("/root/so-pin", SO_PIN, 0o600)
    ctl("softhsm", "create", "Sample", "--so-pin-file=/root/so-pin", "--pin-file=/root/pin")
    ctl("pin", "set", "Sample", "--pin-file=/root/pin", "--persist")
    start("tpm")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    run("systemctl", "stop", "iothsmd")
    for path in (STATE, CREDENTIALS, HOST_KEY):
        os.makedirs(f"/root/copy{os.path.dirname(path)}", exist_ok=True)
        run("cp", "--archive", path, f"/root/copy{path}")


@test("while the TPM is away the service runs without the PIN, and nothing is lost")
def _():
    start(None)
    assert describe()["pinsSealed"] is False and token()["pinState"] == "missing"
    assert len(journal(f"MESSAGE_ID={message_id('SEALING_KEY_FAILED')}")) == 1 and os.path.exists(f"{KEY}.waiting")
    start("tpm")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    assert read_bytes(KEY) == read_bytes(f"/root/copy{KEY}")


@test("a TPM that never answers does not keep the service from running, and nothing is lost")
def _():
    hanging = "/etc/systemd/system/iothsm-seal.service.d/hanging.conf"
    write(hanging, "[Service]\nEnvironment=IOTHSM_SEAL_TIMEOUT=1\n")
    write("/usr/local/bin/systemd-creds", "#!/bin/sh\nexec sleep infinity\n", 0o755)
    run("systemctl", "daemon-reload")
    start(None)
    assert describe()["pinsSealed"] is False and token()["pinState"] == "missing"
    records = journal(f"MESSAGE_ID={message_id('SEALING_KEY_FAILED')}")
    assert len(records) == 2 and "did not end within 1 seconds" in records[-1]["MESSAGE"], records
    os.unlink(hanging)
    write("/usr/local/bin/systemd-creds", MANAGED, 0o755)
    run("systemctl", "daemon-reload")
    start("tpm")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    assert read_bytes(KEY) == read_bytes(f"/root/copy{KEY}")


@test("a copy of the whole disk is of no use on a machine with another TPM")
def _():
    restore("/root/copy")
    start("other-tpm")
    assert useless("a disk with another TPM") == 1


@test("the state and the sealing key are of no use on another machine, even with the TPM")
def _():
    restore("/root/copy")
    os.unlink(HOST_KEY)
    start("tpm")
    assert useless("another machine's own key") == 2


@test("with a copy of the whole disk and the TPM the PIN is back")
def _():
    restore("/root/copy")
    start("tpm")
    wait_for(lambda: token()["pinState"] == "set", "the PIN")
    assert read_bytes(KEY) == read_bytes(f"/root/copy{KEY}")


@test("where no key can be made with the TPM there is, one is made without it, which the journal says")
def _():
    run("systemctl", "stop", "iothsmd")
    os.unlink(KEY)
    start(None)
    assert describe()["pinsSealed"] is True and opened_key()
    record = journal(f"MESSAGE_ID={message_id('SEALING_KEY_MADE')}")[-1]
    assert record["PRIORITY"] == "4" and "with the machine's own key only" in record["MESSAGE"], record
