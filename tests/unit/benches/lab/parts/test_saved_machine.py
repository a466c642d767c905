"""Memory is loaded by the machine that saved it, wherever its guest's files are, and by no other."""

from dataclasses import replace
from pathlib import Path

from harness.benches.lab.parts.command_line import Hardware, boot_arguments, restore_arguments
from harness.benches.lab.parts.saved_machine import machine_hash

MACHINE = Hardware(
    accelerator="tcg",
    memory_mib=512,
    disk=Path("/h/disk.qcow2"),
    kernel=Path("/k"),
    initrd=Path("/i"),
    serial_log=Path("/h/serial.log"),
    sockets=Path("/s"),
)


def hash_of(arguments: list[str], version: str = "11.1.3", folder: str = "/h", sockets: str = "/s") -> str:
    return machine_hash(arguments, version, folder=Path(folder), sockets=Path(sockets))


def test_neither_the_files_of_a_guest_nor_its_start_make_another_machine() -> None:
    moved = replace(
        MACHINE, disk=Path("/other/disk.qcow2"), kernel=Path("/k2"), initrd=Path("/i2"), sockets=Path("/run/x")
    )
    whole_line = ["/usr/bin/qemu", "-sandbox", "on", *boot_arguments(MACHINE), "-S", ""]
    assert {
        hash_of(boot_arguments(MACHINE)),
        hash_of(restore_arguments(MACHINE)),
        hash_of(whole_line),
        hash_of(restore_arguments(moved), folder="/other", sockets="/run/x"),
    } == {hash_of(boot_arguments(MACHINE))}


def test_another_release_accelerator_size_or_device_makes_another_machine() -> None:
    hashes = [
        hash_of(boot_arguments(MACHINE)),
        hash_of(boot_arguments(MACHINE), version="11.2.0"),
        hash_of(boot_arguments(replace(MACHINE, accelerator="kvm"))),
        hash_of(boot_arguments(replace(MACHINE, memory_mib=1024))),
        hash_of([*boot_arguments(MACHINE), "-device", "igb"]),
    ]
    assert len(set(hashes)) == len(hashes)
