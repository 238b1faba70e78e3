# SPDX-License-Identifier: LGPL-2.1-or-later
"""The PIN is sealed with the machine's TPM, though systemd-creds has-tpm2 misses the firmware's part here: no UEFI."""
import os

from desk import signs, wait_for_authority
from machine import KEY, journal, message_id, opened_key, run, test, token


@test("the sealing key opens with the machine's TPM and not without it")
def _():
    assert len(opened_key()) == 32
    without = run("env", "SYSTEMD_TPM2_DEVICE=device:/dev/null", "systemd-creds", "decrypt", "--name=iothsm.key", KEY, "-",
                  expect=None)
    assert without.status != 0, "the key opens without the TPM"


@test("the PIN is there after a restart of the service, and it signs")
def _():
    run("systemctl", "restart", "iothsmd")
    wait_for_authority()
    assert token()["pinState"] == "set"
    signs()
    assert len(journal(f"MESSAGE_ID={message_id('SEALING_KEY_MADE')}")) == 1
    assert os.listdir(os.path.dirname(KEY)) == [os.path.basename(KEY)]
