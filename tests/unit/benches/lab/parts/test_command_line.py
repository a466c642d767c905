"""What QEMU is asked to be: a network that lets nothing out, and no system calls beyond those that it needs."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.lab.parts import qemu
from harness.benches.lab.parts.command_line import Hardware, boot_arguments, restore_arguments

MACHINE = Hardware(
    accelerator="tcg",
    memory_mib=512,
    disk=Path("/h/disk.qcow2"),
    kernel=Path("/k"),
    initrd=Path("/i"),
    serial_log=Path("/h/serial.log"),
    sockets=Path("/s"),
)


def test_every_network_of_a_guest_is_a_hub_a_restricted_one_or_the_ntp_servers() -> None:
    for words in (boot_arguments(MACHINE), restore_arguments(MACHINE)):
        networks = [words[at + 1].split(",") for at, word in enumerate(words) if word == "-netdev"]
        assert sorted(kind for kind, *_ in networks) == ["dgram", "hubport", "hubport", "hubport", "user"]
        assert [set(options) for kind, *options in networks if kind == "user"] == [
            {"id=ssh", "restrict=on", "ipv6=off"}
        ]
        paths = [option for _, *options in networks for option in options if ".path=" in option]
        assert paths == ["local.path=/s/net", "remote.path=/s/ntp"]
        assert not {"-net", "-nic"} & set(words)


def test_a_cloud_guest_has_a_third_port_to_its_cloud_server_and_finds_its_seed_by_a_serial_number() -> None:
    words = boot_arguments(replace(MACHINE, serial_number="ds=nocloud;s=http://[fd00::80]:8080/"))
    networks = [words[at + 1] for at, word in enumerate(words) if word == "-netdev"]
    assert "dgram,id=cloud,local.type=unix,local.path=/s/cloud-net,remote.type=unix,remote.path=/s/cloud" in networks
    assert "hubport,id=hub-cloud,hubid=0,netdev=cloud" in networks
    assert words[words.index("-smbios") + 1] == "type=1,serial=ds=nocloud;s=http://[fd00::80]:8080/"
    assert "-smbios" not in boot_arguments(MACHINE)


@pytest.mark.parametrize("seccomp", [True, False])
def test_a_qemu_that_knows_no_sandbox_is_run_without(tmp_path: Path, seccomp: bool) -> None:
    """A program that says what QEMU says, built with seccomp or without."""
    refusal = "" if seccomp else 'case "$*" in *sandbox*) exit 1;; esac\n'
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\n{refusal}echo QEMU emulator version 11.1.3\n")
    program.chmod(0o700)
    version, words = qemu.version_and_sandbox((str(program),), {})
    assert version == "11.1.3"
    if not seccomp:
        assert words == ()
        return
    assert words[0] == "-sandbox"
    assert set(words[1].split(",")) == {
        "on",
        "obsolete=deny",
        "elevateprivileges=deny",
        "spawn=deny",
        "resourcecontrol=deny",
    }
