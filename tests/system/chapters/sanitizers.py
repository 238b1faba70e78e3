# SPDX-License-Identifier: LGPL-2.1-or-later
"""From here on the service is the program that was built with sanitizers, inside the same sandbox."""
from machine import SHARE, describe, run, test, unit, write

# A process that nobody may look into can't be looked through for leaks either: that is the other suites' task.
DROP_IN = f"""[Service]
ExecStart=
ExecStart={SHARE}/iothsmd-sanitized
Environment=ASAN_OPTIONS=detect_leaks=0:exitcode=99:intercept_tls_get_addr=0
Environment=UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
"""


@test("a daemon with AddressSanitizer and UndefinedBehaviorSanitizer starts inside the sandbox")
def _():
    write("/etc/systemd/system/iothsmd.service.d/sanitizers.conf", DROP_IN)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "iothsmd")
    assert unit("ActiveState") == "active" and describe()["version"]
    with open(f"/proc/{unit('MainPID')}/maps", encoding="utf-8") as maps:
        assert "libasan" in maps.read()
