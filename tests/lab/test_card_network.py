"""Does an ENA card that carries a host's connection reach its network? By a real device and hub, without a guest."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from ena_device.driver import ProgramDriver
from ena_device.peer import Peer
from ena_device.running import RunningDevice, start_device, wait_for
from ntp_server.frames import checksum

from harness.benches.lab.guests import card_connection
from harness.benches.lab.io import qmp
from harness.benches.lab.parts import cache_build, command_line, qemu
from harness.benches.lab.parts.command_line import Hardware
from harness.benches.lab.processes import runtime_dir
from harness.system import settings

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]

MAC = bytes.fromhex("061122334455")
BROADCAST = b"\xff" * 6
ADDRESS = socket.inet_aton("10.0.2.15")  # to which QEMU forwards SSH
DISCOVER = b"\x63\x82\x53\x63" + b"\x35\x01\x01" + b"\xff"  # RFC 2132: magic, message type, end
SLOTS = 16


@dataclass(frozen=True, kw_only=True)
class Network:
    """A hub with a card on it, and the card's driver."""

    monitor: Path
    device: RunningDevice
    driver: ProgramDriver
    doorbell: int


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A QEMU without a machine, its network as in a guest, and a card that joins it."""
    found = qemu.ensure(cache_build.make_writable(settings.load(os.environ).cache_dir / "lab"), print)
    sockets = runtime_dir.make_private(runtime_dir.path_for(tmp_path / "h"))
    hardware = Hardware(
        accelerator="tcg", memory_mib=1, disk=tmp_path, kernel=tmp_path, initrd=tmp_path, serial_log=tmp_path,
        sockets=sockets,
    )  # fmt: skip
    words = command_line.boot_arguments(hardware)
    networks = [word for at, word in enumerate(words) if "-netdev" in words[at - 1 : at + 1]]
    argv = [
        *found.system, *found.sandbox, "-nodefaults", "-machine", "none", *networks,
        "-qmp", f"unix:{hardware.qmp},server=on,wait=off",
    ]  # fmt: skip
    with ExitStack() as cleanup:
        cleanup.callback(sockets.rmdir)
        cleanup.callback(lambda: [path.unlink() for path in sockets.iterdir()])
        machine = subprocess.Popen(argv, env=os.environ | dict(found.environment))
        cleanup.callback(machine.wait, 10)
        cleanup.callback(machine.terminate)
        device = start_device(
            tmp_path, "--doorbell", "socket", "--network", str(hardware.card), str(hardware.card_network)
        )
        cleanup.callback(device.kill)
        with qmp.session(hardware.qmp) as monitor:
            card_connection.join(monitor, hardware)
        driver = ProgramDriver(cleanup.enter_context(Peer(device.socket)))
        cleanup.callback(driver.close)
        driver.start()
        send_doorbell, _ = driver.create_send_queue()
        doorbell, _ = driver.create_receive_queue()
        for slot in range(SLOTS):
            driver.write_buffer(slot)
        driver.write(doorbell, SLOTS)
        yield Network(monitor=hardware.qmp, device=device, driver=driver, doorbell=send_doorbell)


def dhcp(message: bytes) -> bytes:
    """A frame with a client's DHCP message (RFC 2131)."""
    fields = (1, 1, 6, 0, 0x1234, 0, 0x8000, bytes(4), bytes(4), bytes(4), bytes(4), MAC, b"", b"")
    body = struct.pack("!BBBBIHH4s4s4s4s16s64s128s", *fields) + message.ljust(64, b"\0")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
    header = [0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4]
    layout = struct.Struct("!BBHHHBBH4s4s")
    header[7] = checksum(layout.pack(*header))
    return BROADCAST + MAC + b"\x08\x00" + layout.pack(*header) + udp


def test_a_card_gets_the_address_to_which_ssh_is_forwarded(network: Network) -> None:
    network.driver.write(network.doorbell, network.driver.write_frame(0, dhcp(DISCOVER)))
    wait_for(lambda: network.driver.received(SLOTS), "an offer")
    offer = network.driver.received(SLOTS)[0]
    assert offer[14 + 20 + 8 + 16 :][:4] == ADDRESS
    state = network.device.ask()
    assert (state["tx_packets"], state["tx_dropped"], state["rx_dropped"], state["rx_invalid"]) == (1, 0, 0, 0)


def test_the_forwarded_connection_comes_to_the_card(network: Network) -> None:
    """QEMU asks for the hardware address of 10.0.2.15 as soon as somebody connects."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with qmp.session(network.monitor) as monitor:
        assert monitor.monitor(f"hostfwd_add {command_line.SSH} tcp:127.0.0.1:{port}-:22") == ""
        ports = monitor.monitor("info network")
    assert "hub-card: card: index=0,type=dgram" in ports
    with socket.create_connection(("127.0.0.1", port)):
        wait_for(lambda: network.driver.received(SLOTS), "a question for the address")
    question = network.driver.received(SLOTS)[0]
    assert (question[12:14], question[38:42]) == (b"\x08\x06", ADDRESS)
