"""Frames between the driver's queues and the guest's network: both ways, by real sockets, and what is dropped."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device.device_errors import DeviceSetupError
from ena_device.driver import BUFFER_SIZE, CQ_AT, DEPTH, MEMORY_AT, SQ_AT, ProgramDriver
from ena_device.network import HEADER_SIZE, MAX_FRAME, MAX_PER_TURN, MAX_WAITING, NetworkSocket
from ena_device.packets import LAST, TX_DESC
from ena_device.peer import wait_for_interrupt
from ena_device.running import RunningDevice, wait_for

MAC = bytes.fromhex("061122334455")
OTHER = bytes.fromhex("525500000001")
BROADCAST = b"\xff" * 6
TYPE = b"\x08\x00"


class Card:
    """A card on a network, with its driver, its queues, and the network's end of the sockets."""

    def __init__(self, device: RunningDevice, driver: ProgramDriver, far: socket.socket) -> None:
        self.device, self.driver, self.far = device, driver, far
        self.eventfd = os.eventfd(0)
        driver.peer.set_eventfds(1, [self.eventfd])
        self.send_doorbell, unmask = driver.create_send_queue(vector=1)
        self.receive_doorbell, self.unmask = driver.create_receive_queue(vector=1)
        driver.write(unmask, reg.UNMASK_ARM)

    def give_buffers(self, count: int, length: int = BUFFER_SIZE) -> None:
        for slot in range(count):
            self.driver.write_buffer(slot, length=length)
        self.driver.write(self.receive_doorbell, count)

    def arrive(self, *frames: bytes) -> None:
        """Send frames to the card, and wait until it has taken them from its socket."""
        for frame in frames:
            self.far.sendto(frame, str(Path(self.device.socket).with_name("net")))
        self.device.ask()

    def counts(self) -> dict[str, int]:
        state = self.device.ask()
        return {name: state[name] for name in COUNTS if state[name]}


COUNTS = ("tx_packets", "tx_dropped", "rx_packets", "rx_dropped", "rx_invalid")


def frame(destination: bytes, payload: bytes) -> bytes:
    return destination + OTHER + TYPE + payload


@pytest.fixture
def far(tmp_path: Path) -> Iterator[socket.socket]:
    """The network's end, as QEMU has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "far"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def card(
    start: Callable[..., RunningDevice],
    connect: Callable[[RunningDevice], ProgramDriver],
    far: socket.socket,
    tmp_path: Path,
) -> Iterator[Card]:
    device = start("--doorbell", "socket", "--network", str(tmp_path / "net"), str(tmp_path / "far"))
    made = Card(device, connect(device), far)
    yield made
    os.close(made.eventfd)


# --- from the driver to the network ----------------------------------------------------------------------------------


def test_a_packet_of_one_or_several_buffers_is_one_frame(card: Card) -> None:
    short, header, body = frame(OTHER, bytes(46)), frame(OTHER, b"ip"), bytes(range(200)) * 7
    slot = card.driver.write_frame(0, short)
    slot = card.driver.write_frame(slot, header, body[:1000], body[1000:])
    card.driver.write(card.send_doorbell, slot)
    assert [card.far.recv(1 << 16) for _ in range(2)] == [short, header + body]
    assert wait_for_interrupt(card.eventfd)
    completed = [struct.unpack_from("<HBBHH", card.driver.memory, CQ_AT + 8 * place) for place in range(3)]
    assert completed == [(0, 0, 1, 0, 1), (1, 0, 1, 0, 4), (0, 0, 0, 0, 0)]
    assert card.counts() == {"tx_packets": 2}


def test_frames_that_a_busy_network_does_not_take_wait_in_order(card: Card) -> None:
    frames = [frame(OTHER, struct.pack(">I", number)) for number in range(2 * DEPTH)]
    for begin in (0, DEPTH):
        for slot in range(DEPTH):
            card.driver.write_frame(slot, frames[begin + slot])
        card.driver.write(card.send_doorbell, begin + DEPTH)
    assert [card.far.recv(100) for _ in frames] == frames
    assert card.counts() == {"tx_packets": 2 * DEPTH}


def test_a_network_that_takes_nothing_does_not_hold_up_the_driver(card: Card) -> None:
    rounds = MAX_WAITING // DEPTH + 2
    for number in range(1, rounds + 1):
        for slot in range(DEPTH):
            card.driver.write_frame(slot, frame(OTHER, bytes(4)))
        card.driver.write(card.send_doorbell, number * DEPTH)
    counts = card.counts()
    assert counts["tx_packets"] == rounds * DEPTH
    assert 0 < counts["tx_dropped"] < rounds * DEPTH - MAX_WAITING
    arrived = 0
    card.far.settimeout(0.5)
    while arrived < counts["tx_packets"] - counts["tx_dropped"]:
        card.far.recv(100)
        arrived += 1
    with pytest.raises(TimeoutError):
        card.far.recv(100)


def test_packets_that_are_no_frames_are_dropped_and_completed(card: Card) -> None:
    at = SQ_AT
    long = (1 << 16) - 1
    for length, address, last in (
        (HEADER_SIZE - 1, MEMORY_AT, True),  # too short
        (long, MEMORY_AT, False),  # too long
        (long, MEMORY_AT, True),
        (60, 0x5000_0000, True),  # out of reach
    ):
        TX_DESC.pack_into(card.driver.memory, at, length | (LAST if last else 0), 0, address, 0)
        at += TX_DESC.size
    slot = card.driver.write_frame(4, frame(OTHER, b"good"))
    assert card.driver.write(card.send_doorbell, slot) == 0
    assert card.far.recv(1 << 16) == frame(OTHER, b"good")
    assert card.counts() == {"tx_packets": 4, "tx_dropped": 3}


def test_a_network_that_comes_back_is_found_again(card: Card, tmp_path: Path) -> None:
    card.far.close()
    (tmp_path / "far").unlink()
    slot = card.driver.write_frame(0, frame(OTHER, b"lost"))
    card.driver.write(card.send_doorbell, slot)
    assert card.counts() == {"tx_packets": 1, "tx_dropped": 1}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "far"))
        again.settimeout(5)
        slot = card.driver.write_frame(slot, frame(OTHER, b"taken"))
        card.driver.write(card.send_doorbell, slot)
        assert again.recv(100) == frame(OTHER, b"taken")


# --- from the network to the driver ----------------------------------------------------------------------------------


def test_frames_for_the_card_and_for_groups_arrive_with_an_interrupt(card: Card) -> None:
    card.give_buffers(4)
    sent = [frame(MAC, b"one"), frame(OTHER, b"for another"), frame(BROADCAST, b"all"), frame(MAC, bytes(1500))]
    card.arrive(*sent)
    assert wait_for_interrupt(card.eventfd)
    assert card.driver.received(4) == [sent[0], sent[2], sent[3]]
    assert card.counts() == {"rx_packets": 3}
    stats = card.driver.command(al.Opcode.GET_STATS, bytes(13))
    received = len(sent[0]) + len(sent[2]) + len(sent[3])
    assert al.BASIC_STATS.unpack_from(stats.data) == (0, 0, received, 3, 0, 0, 0)


def test_a_frame_may_need_several_buffers(card: Card) -> None:
    card.give_buffers(4, length=64)
    sent = [frame(MAC, bytes(range(150))), frame(MAC, b"short")]
    card.arrive(*sent)
    assert card.driver.received(4) == sent


def test_a_frame_without_buffers_is_dropped_and_takes_none(card: Card) -> None:
    card.give_buffers(3, length=64)
    sent = [frame(MAC, bytes(100)), frame(MAC, bytes(200)), frame(MAC, b"fits")]
    card.arrive(*sent, sent[2])
    assert card.driver.received(3) == [sent[0], sent[2]]
    assert card.counts() == {"rx_packets": 2, "rx_dropped": 2}
    events: list[tuple[int, bytes]] = []
    drops = struct.pack("<QQQ", 2, 0, 0)
    wait_for(
        lambda: events.extend(card.driver.events()) or [1 for group, data in events if data.startswith(drops)],
        "the driver is told of both",
    )


def test_frames_that_are_too_short_or_too_long_are_dropped_and_counted(card: Card) -> None:
    card.give_buffers(8)
    longest = frame(MAC, bytes(MAX_FRAME - HEADER_SIZE))
    card.arrive(b"", MAC, frame(MAC, b"")[:-1], longest + b"x", bytes(1 << 15), frame(MAC, b""), longest)
    assert card.driver.received(8) == [frame(MAC, b""), longest]
    assert card.counts() == {"rx_packets": 2, "rx_invalid": 5}


def test_buffers_out_of_reach_get_nothing(card: Card) -> None:
    card.driver.write_buffer(0, address=0x5000_0000)
    card.driver.write(card.receive_doorbell, 1)
    card.arrive(frame(MAC, b"lost"))
    assert card.counts() == {"rx_dropped": 1}
    assert card.device.ask()["connected"] is True


def test_a_driver_that_gives_more_buffers_than_its_ring_holds_is_refused(card: Card) -> None:
    assert card.driver.write(card.receive_doorbell, DEPTH + 1) == 22
    card.arrive(frame(MAC, b"lost"))
    assert card.counts() == {"rx_dropped": 1}


def test_a_card_without_driver_or_link_drops_frames(card: Card) -> None:
    card.give_buffers(4)
    card.device.ask(link=False)
    slot = card.driver.write_frame(0, frame(OTHER, b"lost"))
    card.driver.write(card.send_doorbell, slot)
    card.arrive(frame(MAC, b"lost"))
    assert card.driver.received(4) == []
    card.device.ask(link=True)
    card.arrive(frame(MAC, b"one"))
    assert card.driver.received(4) == [frame(MAC, b"one")]
    card.driver.reset()
    card.arrive(frame(MAC, b"lost"))
    assert card.counts() == {"tx_packets": 1, "tx_dropped": 1, "rx_packets": 1, "rx_dropped": 2}


def test_a_flood_of_frames_leaves_the_clock_its_turn(card: Card) -> None:
    card.give_buffers(DEPTH)
    card.driver.configure_phc()
    end_s = time.monotonic() + 1
    sent = answered = 0
    card.far.setblocking(False)
    while time.monotonic() < end_s:
        try:
            card.arrive(*[frame(BROADCAST, bytes(1000))] * MAX_PER_TURN)
        except BlockingIOError:
            sent += 1
        answered += card.driver.read_phc() is not None
    assert min(sent, answered) > 10


# --- the socket ------------------------------------------------------------------------------------------------------


def test_only_the_network_may_send_frames_to_a_card_that_has_sent_one(card: Card, tmp_path: Path) -> None:
    card.driver.write(card.send_doorbell, card.driver.write_frame(0, frame(OTHER, b"hello")))
    assert card.far.recv(100) == frame(OTHER, b"hello")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, pytest.raises(PermissionError):
        stranger.sendto(frame(MAC, b"forged"), str(tmp_path / "net"))


def test_the_path_goes_with_the_device_and_one_left_behind_is_replaced(
    start: Callable[..., RunningDevice], tmp_path: Path
) -> None:
    options = ("--doorbell", "socket", "--network", str(tmp_path / "net"), str(tmp_path / "far"))
    start(*options).kill()
    assert (tmp_path / "net").is_socket()
    second = start(*options)
    assert second.end() == 0
    assert not (tmp_path / "net").exists()


def test_a_path_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceSetupError, match=r"cannot receive frames at .*/none/net: No such file"):
        NetworkSocket(str(tmp_path / "none" / "net"), str(tmp_path / "far"))
    with pytest.raises(DeviceSetupError, match="socket path of 118 bytes, at most 107 possible"):
        NetworkSocket(str(tmp_path / "net"), "/" + "x" * 117)
