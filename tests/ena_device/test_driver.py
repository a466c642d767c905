"""What a driver finds: reset, admin queue, features, events, packets, the clock's configuration."""

import os
import struct
import time
from collections.abc import Callable

import pytest
from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device.driver import ALL_GROUPS, AQ_AT, CQ_AT, DEPTH, HOST_AT, MEMORY_AT, PHC_AT, Completion, ProgramDriver
from ena_device.peer import wait_for_interrupt
from ena_device.running import RunningDevice, wait_for

Start = Callable[..., RunningDevice]
Connect = Callable[[RunningDevice], ProgramDriver]
EVERY_FEATURE = sum(1 << f for f in al.Feature)


def link_states(driver: ProgramDriver) -> list[int]:
    return [data[0] for group, data in driver.events() if group == al.EventGroup.LINK_CHANGE]


@pytest.fixture
def driver(socket_device: RunningDevice, connect: Connect) -> ProgramDriver:
    """A driver that has taken the first event, the state of the link."""
    driver = connect(socket_device)
    first: list[tuple[int, bytes]] = []
    wait_for(lambda: first.extend(driver.events()) or first, "the first event")
    assert first == [(al.EventGroup.LINK_CHANGE, struct.pack("<I", 1).ljust(48, b"\0"))]
    return driver


def test_registers_after_reset(driver: ProgramDriver) -> None:
    assert driver.read(reg.VERSION) == 0x000A
    assert driver.read(reg.CONTROLLER_VERSION) == 0x01000001
    assert driver.read(reg.CAPS) == 1 | 30 << 1 | 48 << 8
    driver.write(reg.DEV_CTL, reg.DEV_CTL_RESET)
    assert driver.read(reg.DEV_STS) == reg.DEV_STS_READY | reg.DEV_STS_RESETTING
    driver.write(reg.DEV_CTL, 0)
    assert driver.read(reg.DEV_STS) == reg.DEV_STS_READY | reg.DEV_STS_RESET_DONE


def test_register_read_through_memory(driver: ProgramDriver) -> None:
    assert driver.read_by_memory(reg.CAPS, request=99) == (99, reg.CAPS, 1 | 30 << 1 | 48 << 8)


def test_reset_reasons_are_kept(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    driver.reset(reason=12)
    driver.write(reg.DEV_CTL, reg.DEV_CTL_RESET | 3 << reg.RESET_REASON_SHIFT | 1 << reg.RESET_REASON_EXT_SHIFT)
    assert socket_device.ask()["resets"] == [0, 12, 19]


@pytest.mark.parametrize(
    ("feature", "data"),
    [
        (
            al.Feature.DEVICE_ATTRIBUTES,
            struct.pack("<IIIIII6sHI", 1, 16, EVERY_FEATURE, 0, 48, 64, b"\x06\x11\x22\x33\x44\x55", 0, 9216),
        ),
        (al.Feature.MAX_QUEUES_EXT, struct.pack("<BxxxIIIIIIIIIHH", 0, *[4] * 4, *[1024] * 4, 96, 17, 16)),
        (al.Feature.STATELESS_OFFLOAD_CONFIG, bytes(12)),
        (al.Feature.RSS_INDIRECTION_TABLE_CONFIG, struct.pack("<HHHBBIHH", 7, 7, 7, 0, 0, 0xFFFFFFFF, 0, 0)),
        (al.Feature.AENQ_CONFIG, struct.pack("<II", ALL_GROUPS, ALL_GROUPS)),
        (al.Feature.LINK_CONFIG, struct.pack("<III", 25_000, 0x10, 2)),
        (al.Feature.PHC_CONFIG, struct.pack("<BxxxIII", 0, 0x100, 50_000, 60_000)),
    ],
)
def test_features_to_get(driver: ProgramDriver, feature: al.Feature, data: bytes) -> None:
    assert driver.get_feature(feature) == Completion(al.Status.SUCCESS, data.ljust(56, b"\0"))


@pytest.mark.parametrize("feature", [0, 3, 4, 31, 255, al.Feature.MTU, al.Feature.HOST_ATTR_CONFIG])
def test_features_not_to_get(driver: ProgramDriver, feature: int) -> None:
    assert driver.get_feature(feature) == Completion(al.Status.UNSUPPORTED_OPCODE, bytes(56))


@pytest.mark.parametrize("feature", [0, 4, 31, 255])
def test_features_not_to_set(driver: ProgramDriver, feature: int) -> None:
    assert driver.set_feature(feature, bytes(8)) == Completion(al.Status.UNSUPPORTED_OPCODE, bytes(56))


@pytest.mark.parametrize("opcode", [0, 5, 10, 255])
def test_unknown_commands(driver: ProgramDriver, opcode: int) -> None:
    assert driver.command(opcode) == Completion(al.Status.BAD_OPCODE, bytes(56))


def test_admin_queue_goes_round(driver: ProgramDriver) -> None:
    link = Completion(al.Status.SUCCESS, struct.pack("<III", 25_000, 0x10, 2).ljust(56, b"\0"))
    assert [driver.get_feature(al.Feature.LINK_CONFIG) for _ in range(3 * DEPTH)] == [link] * (3 * DEPTH)


def test_mtu_and_host_information(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    driver.set_feature(al.Feature.MTU, struct.pack("<I", 9001))
    info = al.HOST_INFO.pack(
        1, b"Debian", 13, b"7.2.12", 0, 2 | 17 << 8 | 0 << 16 | ord("g") << 24, 0, 0, 2, 0, 1, 0, 0x15E
    )
    driver.memory[HOST_AT : HOST_AT + len(info)] = info
    driver.set_feature(al.Feature.HOST_ATTR_CONFIG, struct.pack("<IH", MEMORY_AT + HOST_AT, 0))
    state = socket_device.ask()
    assert state["mtu"] == 9001
    assert state["host"] == {
        "os": 1,
        "distribution": "Debian",
        "kernel": "7.2.12",
        "driver": "2.17.0",
        "module_type": ord("g"),
        "features": 0x15E,
        "phc": True,
    }


def test_host_information_out_of_reach(driver: ProgramDriver) -> None:
    completion = driver.set_feature(al.Feature.HOST_ATTR_CONFIG, struct.pack("<IH", 0x5000, 1))
    assert completion.status == al.Status.ILLEGAL_PARAMETER


def test_keepalive_each_second(driver: ProgramDriver) -> None:
    vector = os.eventfd(0)
    driver.peer.set_eventfds(0, [vector])
    for _ in range(2):
        assert wait_for_interrupt(vector, 3)
        assert driver.events() == [(al.EventGroup.KEEP_ALIVE, bytes(48))]


def test_link_down_and_up(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    states = [socket_device.ask(link=up)["link"] for up in (False, True)]
    assert states == [False, True]
    links: list[int] = []
    wait_for(lambda: links.extend(link_states(driver)) or len(links) == 2, "two link events")
    assert links == [0, 1]


def test_keepalive_stops(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    socket_device.ask(keepalive=False)
    driver.events()  # one may have come before
    time.sleep(1.5)
    assert driver.events() == []


def test_request_reset(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    socket_device.ask(request_reset=True)
    wait_for(lambda: (al.EventGroup.DEVICE_REQUEST_RESET, bytes(48)) in driver.events(), "the reset request")


def test_event_queue_waits_for_room_and_goes_round(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    for i in range(DEPTH + 5):
        socket_device.ask(link=bool(i % 2))
    first = link_states(driver)
    rest: list[int] = []
    wait_for(lambda: rest.extend(link_states(driver)) or len(first + rest) >= DEPTH + 5, "events that found no room")
    assert first + rest == [i % 2 for i in range(DEPTH + 5)]


def test_packets_are_counted_and_completed(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    vector = os.eventfd(0)
    driver.peer.set_eventfds(1, [vector])
    doorbell, unmask = driver.create_send_queue(vector=1)
    driver.write(unmask, reg.UNMASK_ARM)
    for place, request in enumerate((3, 0x7FF)):
        driver.write_packet(place, request=request, length=60)
    driver.write(doorbell, 2)
    assert wait_for_interrupt(vector)
    completions = [struct.unpack_from("<HBBHH", driver.memory, CQ_AT + 8 * i) for i in range(3)]
    assert completions == [(3, 0, 1, 0, 1), (0x7FF, 0, 1, 0, 2), (0, 0, 0, 0, 0)]
    stats = driver.command(al.Opcode.GET_STATS, bytes(13))
    assert struct.unpack_from("<QQ", stats.data) == (120, 2)
    assert socket_device.ask()["tx_packets"] == 2
    driver.write_packet(2, request=4, length=60)
    driver.write(doorbell, 3)
    assert not wait_for_interrupt(vector, 0.2)  # not armed again
    driver.write(unmask, reg.UNMASK_ARM)
    assert wait_for_interrupt(vector)


def test_queues_come_and_go(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    driver.create_send_queue()
    assert socket_device.ask()["sqs"] == 1
    assert driver.command(al.Opcode.DESTROY_SQ, struct.pack("<H", 0)).status == al.Status.SUCCESS
    assert driver.command(al.Opcode.DESTROY_CQ, struct.pack("<H", 0)).status == al.Status.SUCCESS
    assert driver.command(al.Opcode.DESTROY_SQ, struct.pack("<H", 0)).status == al.Status.ILLEGAL_PARAMETER
    assert socket_device.ask()["sqs"] == 0


@pytest.mark.parametrize(
    ("opcode", "body", "status"),
    [
        (al.Opcode.CREATE_CQ, al.CREATE_CQ.pack(0, 2, 0, 1, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # no entries
        (al.Opcode.CREATE_CQ, al.CREATE_CQ.pack(0, 2, 48, 1, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # not a power
        (al.Opcode.CREATE_CQ, al.CREATE_CQ.pack(0, 0, 32, 1, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # empty entries
        (al.Opcode.CREATE_CQ, al.CREATE_CQ.pack(0, 2, 32, 9, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # no such vector
        (al.Opcode.CREATE_SQ, al.CREATE_SQ.pack(32, 0, 1, 1, 5, 32, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # no cq
        (al.Opcode.CREATE_SQ, al.CREATE_SQ.pack(32, 0, 3, 1, 0, 32, 0, 0, 0), al.Status.ILLEGAL_PARAMETER),  # llq
        (al.Opcode.GET_STATS, bytes(12) + b"\1", al.Status.UNSUPPORTED_OPCODE),
    ],
)
def test_commands_that_make_no_sense(driver: ProgramDriver, opcode: int, body: bytes, status: int) -> None:
    assert driver.command(opcode, body) == Completion(status, bytes(56))


def test_queues_run_out(driver: ProgramDriver) -> None:
    body = al.CREATE_CQ.pack(0, 2, 32, 1, 0, 0, 0)
    statuses = [driver.command(al.Opcode.CREATE_CQ, body).status for _ in range(65)]
    assert statuses == [al.Status.SUCCESS] * 64 + [al.Status.RESOURCE_ALLOCATION_FAILURE]


def test_device_without_the_clock(start: Start, connect: Connect) -> None:
    device = start("--no-phc")
    driver = connect(device)
    assert driver.configure_phc() == Completion(al.Status.UNSUPPORTED_OPCODE, bytes(56))
    attributes = al.DEVICE_ATTRIBUTES.unpack_from(driver.get_feature(al.Feature.DEVICE_ATTRIBUTES).data)
    assert attributes[2] == EVERY_FEATURE & ~(1 << al.Feature.PHC_CONFIG)
    device.ask(no_phc=False)
    driver.reset()
    assert driver.configure_phc().status == al.Status.SUCCESS


def test_what_the_driver_is_told_of_the_clock(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    socket_device.ask(phc_version=1, expire_us=10, block_us=0)
    offered = driver.get_feature(al.Feature.PHC_CONFIG).data
    assert al.PHC_GET.unpack_from(offered) == (1, reg.PHC_DOORBELL, 10, 0)


@pytest.mark.parametrize(
    ("address", "high", "length"), [(MEMORY_AT + PHC_AT, 0, 32), (0x5000, 1, 64), (MEMORY_AT + 0xFFFE0, 0, 64)]
)
def test_clock_response_that_makes_no_sense(
    socket_device: RunningDevice, driver: ProgramDriver, address: int, high: int, length: int
) -> None:
    values = bytes(al.PHC_GET.size) + al.PHC_SET.pack(address, high, 0, length)
    assert driver.set_feature(al.Feature.PHC_CONFIG, values).status == al.Status.ILLEGAL_PARAMETER
    assert socket_device.ask()["phc"] is False


def test_clock_survives_driver_resets(device: RunningDevice, connect: Connect) -> None:
    driver = connect(device)
    for _ in range(3):
        assert driver.configure_phc().status == al.Status.SUCCESS
        assert driver.read_phc() is not None
        driver.reset()
        assert device.ask()["phc"] is False
        assert device.children() == []
        driver.set_feature(al.Feature.AENQ_CONFIG, al.AENQ.pack(0, ALL_GROUPS))


@pytest.mark.parametrize("tail", [DEPTH + 1, 0xFFFF])
def test_admin_tail_beyond_the_ring(driver: ProgramDriver, tail: int) -> None:
    driver.reset()
    assert driver.write(reg.AQ_DOORBELL, tail) == 22
    assert driver.get_feature(al.Feature.LINK_CONFIG).status == al.Status.SUCCESS


def test_admin_queue_out_of_reach(driver: ProgramDriver) -> None:
    driver.reset()
    driver.write(reg.AQ_BASE_LO, 0x8000_0000)
    assert driver.write(reg.AQ_DOORBELL, 1) == 14
    driver.reset()
    assert driver.get_feature(al.Feature.LINK_CONFIG).status == al.Status.SUCCESS


def test_admin_queue_without_entries(driver: ProgramDriver) -> None:
    driver.reset()
    driver.write(reg.AQ_CAPS, 0)
    assert driver.write(reg.AQ_DOORBELL, 1) == 22


def test_every_register_takes_garbage(socket_device: RunningDevice, driver: ProgramDriver) -> None:
    for offset in range(0, 0x800, 4):
        driver.write(offset, 0xDEADBEEF)
    assert driver.read(0x3FFC) == 0
    driver.reset()
    assert driver.get_feature(al.Feature.LINK_CONFIG).status == al.Status.SUCCESS
    assert driver.memory[AQ_AT : AQ_AT + 2] == b"\0\0"
    assert socket_device.ask()["connected"] is True
