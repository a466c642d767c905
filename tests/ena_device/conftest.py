"""A device process of its own for each test, and a driver on it. Nothing here stands in for the device."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ena_device.driver import Driver
from ena_device.peer import Peer
from ena_device.running import Device, start_device


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Start a device with options, and wait until it answers; all of them end with the test."""
    started: list[Device] = []

    def begin(*options: str, name: str = "ena") -> Device:
        started.append(start_device(tmp_path, *options, name=name))
        return started[-1]

    yield begin
    for device in started:
        device.kill()


@pytest.fixture(params=["socket", "mapped"])
def device(start: Callable[..., Device], request: pytest.FixtureRequest) -> Device:
    """A device without further options, once with each doorbell."""
    return start("--doorbell", request.param)


@pytest.fixture
def socket_device(start: Callable[..., Device]) -> Device:
    return start("--doorbell", "socket")


@pytest.fixture
def mapped_device(start: Callable[..., Device]) -> Device:
    return start("--doorbell", "mapped")


@pytest.fixture
def connect() -> Iterator[Callable[[Device], Driver]]:
    """A driver on a device, its queues made; closed with the test."""
    drivers: list[Driver] = []

    def begin(device: Device) -> Driver:
        driver = Driver(Peer(device.socket))
        drivers.append(driver)
        driver.start()
        return driver

    yield begin
    for driver in drivers:
        driver.peer.sock.close()
        driver.close()
