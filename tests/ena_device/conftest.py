"""A device process of its own for each test, and a driver on it. Nothing here stands in for the device."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ena_device.driver import ProgramDriver
from ena_device.peer import Peer
from ena_device.running import RunningDevice, start_device


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningDevice]]:
    """Start a device with options, and wait until it answers; all of them end with the test."""
    started: list[RunningDevice] = []

    def begin(*options: str, name: str = "ena") -> RunningDevice:
        started.append(start_device(tmp_path, *options, name=name))
        return started[-1]

    yield begin
    for device in started:
        device.kill()


@pytest.fixture(params=["socket", "mapped"])
def device(start: Callable[..., RunningDevice], request: pytest.FixtureRequest) -> RunningDevice:
    """A device without further options, once with each doorbell."""
    return start("--doorbell", request.param)


@pytest.fixture
def socket_device(start: Callable[..., RunningDevice]) -> RunningDevice:
    return start("--doorbell", "socket")


@pytest.fixture
def mapped_device(start: Callable[..., RunningDevice]) -> RunningDevice:
    return start("--doorbell", "mapped")


@pytest.fixture
def connect() -> Iterator[Callable[[RunningDevice], ProgramDriver]]:
    """A driver on a device, its queues made; closed with the test."""
    drivers: list[ProgramDriver] = []

    def begin(device: RunningDevice) -> ProgramDriver:
        driver = ProgramDriver(Peer(device.socket))
        drivers.append(driver)
        driver.start()
        return driver

    yield begin
    for driver in drivers:
        driver.peer.sock.close()
        driver.close()
