#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs a virtual machine's processors: KVM where it brings up the image's kernel, else QEMU's emulator. Nothing but
the machine's speed depends on it, so that a slip in this judgement costs time and nothing else.

  accelerator.py IMAGE      prints "kvm" or "tcg" and, behind it, why

That /dev/kvm can be opened means little: there are machines, mostly virtual ones themselves, where the kernel then creeps
or stands still. So the kernel and the initial RAM disk that make-image.sh made are booted with KVM and without a disk. The
RAM disk says UP on the console, finds no disk, and the machine goes down."""
import ctypes
import resource
import signal
import subprocess
import sys

UP = "The kernel is up."
# About what the emulator needs: KVM that needs longer is of no use. Time of processors, because others may keep them busy.
PROCESSOR_SECONDS = 6
SECONDS = 60  # for a machine that does not even try
PROCESSORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"],  # AVX takes the emulator longer than what it replaces
}
KERNEL = "console=ttyS0 quiet panic=-1 mitigations=off"


def machine(image, accelerator, kernel=""):
    """The command of a machine with processors, memory and a kernel, to which the rest is added."""
    return ["qemu-system-x86_64", "-machine", "q35", *PROCESSORS[accelerator], "-smp", "2", "-m", "1024", "-nodefaults",
            "-nographic", "-no-reboot", "-kernel", f"{image}/kernel", "-initrd", f"{image}/initrd",
            "-append", f"{KERNEL} {kernel}".strip()]


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def limit_life():
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))


def reason_against_kvm(image):
    """None: it works."""
    argv = machine(image, "kvm") + ["-chardev", "file,id=console,path=/dev/stdout", "-serial", "chardev:console"]
    try:
        finished = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  timeout=SECONDS, check=False, preexec_fn=limit_life)
    except subprocess.TimeoutExpired:
        return f"with KVM the kernel is not up after {SECONDS} s"
    if finished.returncode == -signal.SIGKILL:
        return f"with KVM the kernel is not up after {PROCESSOR_SECONDS} s of processor time"
    if finished.returncode != 0 and finished.stderr:
        return finished.stderr.strip().splitlines()[-1].removeprefix("qemu-system-x86_64: ").removeprefix("-accel kvm: ")
    return None if UP in finished.stdout else "with KVM the kernel does not come up"


def choose(image):
    reason = reason_against_kvm(image)
    return ("kvm", "KVM runs the processors") if reason is None else ("tcg", f"the processors are emulated: {reason}")


if __name__ == "__main__":
    print(*choose(sys.argv[1]))
