# SPDX-License-Identifier: LGPL-2.1-or-later
"""A YubiKey is plugged in while the service does not run. There is no USB in a container: what udev makes of the device with
the installed rule is udev's own word, about a device that umockdev pretends; with that, systemd is told as udevd tells it."""
import os
import re
import socket
import struct

from machine import ctl, run, test, unit, wait_for, write

DEVICE = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
DESCRIPTION = f"""P: {DEVICE}
E: DEVTYPE=usb_device
E: PRODUCT=1050/%s/543
E: SUBSYSTEM=usb
A: idVendor=1050
"""
NETLINK_KOBJECT_UEVENT = 15
UDEV_GROUP = 2  # of netlink's: what udevd says to everybody
MONITOR_MAGIC = 0xFEEDCAFE


def rule_says(product):
    """The properties that udev gives to this device."""
    write("/root/plugged.umockdev", DESCRIPTION % product)
    out = run("umockdev-run", "--device=/root/plugged.umockdev", "--", "udevadm", "test", "--action=add",
              f"/sys{DEVICE}").out
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", out, re.M))


def hash32(text):
    """MurmurHash2 with seed 0, by which the messages of udev are filtered in the kernel."""
    data, mask, m = text.encode(), 0xFFFFFFFF, 0x5BD1E995
    value = len(data)
    whole = len(data) - len(data) % 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * m & mask
        value = (value * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * m & mask
    value = (value ^ value >> 13) * m & mask
    return value ^ value >> 15


def bloom(tags):
    bits = 0
    for tag in tags:
        for shift in (0, 6, 12, 18):
            bits |= 1 << (hash32(tag) >> shift & 63)
    return bits


def udevd_says(properties):
    """One message in udevd's own format to all who listen to it, systemd among them."""
    tags = bloom(filter(None, properties["TAGS"].split(":")))
    body = b"".join(f"{name}={value}\0".encode() for name, value in properties.items())
    head = struct.pack(">8sI", b"libudev\0", MONITOR_MAGIC) + struct.pack("=III", 40, 40, len(body)) + struct.pack(
        ">IIII", hash32(properties["SUBSYSTEM"]), hash32(properties["DEVTYPE"]), tags >> 32, tags & 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as netlink:
        netlink.bind((0, 0))
        netlink.sendto(head + body, (0, UDEV_GROUP))


@test("the udev rule wants the service for a YubiKey with a smart card, and for no other device")
def _():
    wanted = rule_says("407")
    assert wanted.get("SYSTEMD_WANTS") == "iothsmd.service", wanted
    assert {"systemd", "iothsm"} <= set(wanted["TAGS"].split(":")), wanted
    assert "SYSTEMD_WANTS" not in rule_says("402"), "a key for FIDO alone starts the service"


@test("plugging in a YubiKey starts the service")
def _():
    # systemd has units for devices where /sys can be written to and udev seems to run.
    os.makedirs("/run/udev", exist_ok=True)
    write("/run/udev/control", "")
    run("mount", "--options", "remount,rw", "/sys")
    run("systemctl", "daemon-reexec")
    run("systemctl", "stop", "iothsmd")
    assert unit("ActiveState") == "inactive"
    properties = rule_says("407")
    udevd_says({"ACTION": "add", "DEVPATH": DEVICE, "SUBSYSTEM": "usb", "DEVTYPE": "usb_device", "SEQNUM": "99999",
                "PRODUCT": "1050/407/543", "USEC_INITIALIZED": "1", "TAGS": properties["TAGS"],
                "CURRENT_TAGS": properties["TAGS"], "SYSTEMD_WANTS": properties["SYSTEMD_WANTS"]})
    wait_for(lambda: unit("ActiveState") == "active", "systemd to start the service for the device")
    assert ctl("status").out
