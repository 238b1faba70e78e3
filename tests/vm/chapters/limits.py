# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a service that has gone wrong may take from the machine. A process of ours in the service's control group takes it,
because the service does not. Containers can't show this: their control groups have no controllers."""
import contextlib
import re
import subprocess

from desk import signs, wait_for_authority
from machine import SHARE, ctl, drop_in, read, run, test, unit, wait_for

GROUP = "/sys/fs/cgroup/system.slice/iothsmd.service"
TENANT = f"""
import sys, threading
with open("{GROUP}/cgroup.procs", "w") as group:
    group.write("0")
"""
MANY_THREADS = TENANT + """
threading.stack_size(65536)
end = threading.Event()
number = 0
try:
    while True:
        threading.Thread(target=end.wait, daemon=True).start()
        number += 1
except RuntimeError:
    print(number, flush=True)
sys.stdin.read()
end.set()
"""
MUCH_MEMORY = TENANT + """
taken = []
while True:
    taken.append(b"x" * 1000000)
"""
SENDING = TENANT + """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    try:
        sender.sendto(b"", (sys.argv[1], 9))
        print("sent")
    except PermissionError:
        print("not permitted")
"""


def limit(name):
    return read(f"{GROUP}/{name}").strip()


@contextlib.contextmanager
def tenant(program):
    process = subprocess.Popen(["python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@test("the kernel has the limits that the unit names")
def _():
    assert unit("MemoryMax", "TasksMax") == (limit("memory.max"), limit("pids.max")) == (str(2 << 30), "512")


@test("there are never more tasks than the unit allows, and the service goes on")
def _():
    with tenant(MANY_THREADS) as process:
        number = int(process.stdout.readline())
        assert limit("pids.current") == "512" and 400 < number < 512, (limit("pids.current"), number)
        assert int(re.search(r"^max (\d+)$", limit("pids.events"), re.M).group(1)) > 0
        assert ctl("status").out
        signs()
    wait_for(lambda: int(limit("pids.current")) < 100, "the tasks to end")


@test("over its memory limit the service is stopped, nothing else is, and it is back and signs by itself")
def _():
    run("systemctl", "set-property", "--runtime", "iothsmd", "MemoryMax=128M")
    assert limit("memory.max") == str(128 << 20)
    pid = unit("MainPID")
    with tenant(MUCH_MEMORY) as process:
        assert process.wait(60) == -9, process.returncode
    wait_for(lambda: unit("ActiveState", "NRestarts") == ("active", "1"), "the restart")
    assert unit("MainPID") != pid
    assert "Failed with result 'oom-kill'" in run("journalctl", "--unit=iothsmd", "--output=cat").out
    run("systemctl", "revert", "iothsmd")
    assert limit("memory.max") == str(2 << 30)
    wait_for_authority()
    signs()


@test("the drop-in of iothsmd(8) for a site with a proxy lets it reach the addresses there, and no other one")
def _():
    text = re.search(r"```\n(\[Service\]\nIPAddressDeny=.*?)```", read(f"{SHARE}/iothsmd.8.scd"), re.S).group(1)
    with drop_in(text.replace("localhost", "127.0.0.1")):
        run("systemctl", "restart", "iothsmd")
        wait_for_authority()
        signs()
        assert run("python3", "-c", SENDING, "127.0.0.1").out == "sent\n"
        assert run("python3", "-c", SENDING, "127.0.0.2").out == "not permitted\n"
