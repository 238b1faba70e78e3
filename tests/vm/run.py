#!/usr/bin/python3 -B
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots a virtual machine without a network from what make-image.sh made, has it run one command, and ends with the
command's exit status.

  run.py --image=FOLDER --disk=FILE --share=FOLDER --logs=FOLDER [--tpm=FOLDER] [--limit=SECONDS]
         [--accelerator=kvm|tcg] COMMAND [ARGUMENT...]

--disk is a copy of the image's root.ext4; what the machine writes stays in it, for the next boot. --share is /share there,
read-only. --logs is /logs there and gets output.txt (what the command printed, as it prints it), journal.txt and
console.txt; a later boot with the same folder appends to them. --tpm has the state of the machine's TPM 2.0 (swtpm), which
is made where there is none. --accelerator is one of accelerator.py's; without it that one chooses."""
import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import accelerator

DID_NOT_RUN = 125
UP_AND_DOWN = 120  # seconds that the boot and the shutdown may take where others keep this machine busy
KERNEL = "systemd.unit=vm-run.target systemd.show_status=no"


def parse_options():
    parser = argparse.ArgumentParser(description="Runs a command in a virtual machine.")
    for name in ("image", "disk", "share", "logs"):
        parser.add_argument(f"--{name}", required=True, type=os.path.abspath)
    parser.add_argument("--tpm", type=os.path.abspath)
    parser.add_argument("--limit", type=int, default=420, help="seconds that the command may take")
    parser.add_argument("--accelerator", choices=list(accelerator.PROCESSORS))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.accelerator is None:
        options.accelerator, why = accelerator.choose(options.image)
        print(f"run.py: {why}", file=sys.stderr)
    return options


def machine(options, tpm_socket):
    def folder(tag, path, extra):
        return ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none{extra}"]
    argv = [*accelerator.machine(options.image, options.accelerator, KERNEL), "-device", "virtio-rng-pci",
            "-drive", f"file={options.disk},if=virtio,format=raw,cache=unsafe",
            "-chardev", f"file,id=console,path={options.logs}/console.txt,append=on", "-serial", "chardev:console",
            *folder("share", options.share, ",readonly=on"), *folder("logs", options.logs, "")]
    if tpm_socket:
        argv += ["-chardev", f"socket,id=tpm,path={tpm_socket}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                 "-device", "tpm-tis,tpmdev=tpm0"]
    return argv


@contextlib.contextmanager
def running(argv):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=accelerator.die_with_parent)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def tpm(state):
    """A TPM whose owner keeps its state in this folder, and the socket where it is reached."""
    if state is None:
        yield None
        return
    os.makedirs(state, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vm-tpm.") as place:
        path = f"{place}/tpm.sock"
        with running(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={path}",
                      "--flags", "startup-clear"]) as process:
            while not os.path.exists(path):
                if process.poll() is not None:
                    sys.exit(f"run.py: swtpm ended with status {process.returncode}")
                time.sleep(0.01)
            yield path


def boot(options):
    """True where the machine went down by itself in time."""
    with tpm(options.tpm) as socket, running(machine(options, socket)) as process:
        try:
            return process.wait(options.limit + UP_AND_DOWN) == 0
        except subprocess.TimeoutExpired:
            return False


def status_of(options, went_down):
    try:
        with open(f"{options.logs}/status", encoding="ascii") as file:
            status = int(file.read())
    except FileNotFoundError:
        status = DID_NOT_RUN
    if status == DID_NOT_RUN or not went_down:
        what = "did not end in time" if not went_down else "never ran the command"
        print(f"run.py: the machine {what}; its console said last:", file=sys.stderr)
        with open(f"{options.logs}/console.txt", encoding="utf-8", errors="replace") as file:
            print(file.read()[-3000:], file=sys.stderr)
        return DID_NOT_RUN
    return status


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parse_options()
    os.makedirs(options.logs, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{options.logs}/status")
    with open(f"{options.logs}/command", "w", encoding="utf-8") as file:
        file.write(shlex.join(["timeout", str(options.limit), *options.command]) + "\n")
    started = time.monotonic()
    status = status_of(options, boot(options))
    print(f"run.py: {time.monotonic() - started:.1f} s from power on to power off", file=sys.stderr)
    return status


sys.exit(main())
