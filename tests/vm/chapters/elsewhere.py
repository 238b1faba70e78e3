# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole disk, with the machine's own key, in a machine that has another TPM; the YubiKey was taken along."""
import os

from desk import wait_for_token
from machine import describe, journal, message_id, test, token, wait_for


@test("a copy of the disk in a machine with another TPM does not open the PIN, says so, and signs nothing")
def _():
    wait_for_token()
    wait_for(lambda: token()["pinState"] == "missing", "what becomes of the PIN")
    records = journal(f"MESSAGE_ID={message_id('SEALING_KEY_SET_ASIDE')}")
    assert len(records) == 1 and os.path.exists(records[0]["IOTHSM_FILE"]), records
    assert describe()["pinsSealed"] is True
    assert all(authority["linkState"] != "connected" for authority in describe()["authorities"])
