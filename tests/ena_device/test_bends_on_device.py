"""Each bend, as a driver sees it through both doorbells."""

import time
from collections.abc import Callable
from statistics import median

import pytest
from ena_device.bends import KEYS, START_KEYS, ChoiceKey, FlagKey, IntegerKey
from ena_device.driver import ProgramDriver, Reading
from ena_device.phc import ERROR_BOUND, ERROR_TIMESTAMP, NO_BOUND
from ena_device.running import RunningDevice, wait_for
from ena_device.truth import device_settings

Start = Callable[..., RunningDevice]
Connect = Callable[[RunningDevice], ProgramDriver]
COUNTS = ("asked", "answered", "refused", "silent", "late")


@pytest.fixture
def driver(device: RunningDevice, connect: Connect) -> ProgramDriver:
    """A driver that has the clock configured."""
    driver = connect(device)
    assert driver.configure_phc().status == 0
    return driver


def counts(device: RunningDevice) -> tuple[int, ...]:
    state = device.ask()
    return tuple(state[name] for name in COUNTS)


def read(driver: ProgramDriver) -> Reading:
    reading = driver.read_phc()
    assert reading is not None
    return reading


def within(device: RunningDevice, reading: Reading, offset_ns: int) -> bool:
    """Is the answer the device's time at some moment between asking and seeing, and that the host's UTC and offset?"""
    clock = device_settings(device.control)
    in_bracket = clock.time_at(reading.requested_ns) <= reading.time_ns <= clock.time_at(reading.observed_ns)
    return in_bracket and abs(device.ask()["offset_ns"] - offset_ns) < 1_000_000  # two clocks read one after the other


def test_clock_shows_the_host_utc(device: RunningDevice, driver: ProgramDriver) -> None:
    readings = [read(driver) for _ in range(200)]
    assert all(within(device, r, 0) for r in readings)
    assert {(r.error_bound_ns, r.error_flags) for r in readings} == {(20_000, 0)}
    assert [r.time_ns for r in readings] == sorted(r.time_ns for r in readings)
    wait_for(lambda: counts(device) == (200, 200, 0, 0, 0), "200 requests are counted")


@pytest.mark.parametrize("offset_ns", [5_000_000, -5_000_000, 37_000_000_000])
def test_offset_and_step(device: RunningDevice, driver: ProgramDriver, offset_ns: int) -> None:
    device.ask(offset_ns=offset_ns)
    assert within(device, read(driver), offset_ns)
    device.ask(step_ns=1_000_000)
    assert within(device, read(driver), offset_ns + 1_000_000)
    device.ask(offset_ns=0)
    assert within(device, read(driver), 0)


def test_frequency(device: RunningDevice, driver: ProgramDriver) -> None:
    before = device.ask(freq_ppb=10**8)  # 10 % fast
    time.sleep(0.2)
    reading = read(driver)
    expected_ns = before["base_utc_ns"] + (reading.observed_ns - before["base_mono_ns"]) * 11 // 10
    assert 0 <= expected_ns - reading.time_ns <= (reading.observed_ns - reading.requested_ns) * 11 // 10


def test_frozen(device: RunningDevice, driver: ProgramDriver) -> None:
    stands_at = device.ask(frozen=True)["now_ns"]
    assert {read(driver).time_ns for _ in range(20)} == {stands_at}
    device.ask(frozen=False)
    first, second = read(driver).time_ns, read(driver).time_ns
    assert stands_at < first < second < stands_at + 5_000_000_000


def test_jitter(device: RunningDevice, driver: ProgramDriver) -> None:
    stands_at = device.ask(frozen=True, jitter_ns=1_000)["now_ns"]
    off_by = [read(driver).time_ns - stands_at for _ in range(300)]
    assert max(map(abs, off_by)) <= 1_000
    assert min(off_by) < -500 < 500 < max(off_by)
    assert len(set(off_by)) > 100


def test_error_bound(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(error_bound_ns=750_000)
    assert (read(driver).error_bound_ns, read(driver).error_flags) == (750_000, 0)


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("err_ts", ERROR_TIMESTAMP),
        ("err_eb", ERROR_BOUND),
        ("err_both", ERROR_TIMESTAMP | ERROR_BOUND),
    ],
)
def test_error_flags(device: RunningDevice, driver: ProgramDriver, mode: str, flags: int) -> None:
    device.ask(mode=mode)
    reading = read(driver)
    assert reading.error_flags == flags
    assert reading.error_bound_ns == (NO_BOUND if flags & ERROR_BOUND else 20_000)
    assert (reading.time_ns == 0) == bool(flags & ERROR_TIMESTAMP)
    device.ask(mode="ok")
    assert read(driver).error_flags == 0
    wait_for(lambda: counts(device) == (2, 1, 1, 0, 0), "one refused, one answered")


def test_silent(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(mode="silent")
    assert driver.read_phc(timeout_s=0.2) is None
    device.ask(mode="ok")
    assert within(device, read(driver), 0)
    wait_for(lambda: counts(device) == (2, 1, 0, 1, 0), "one silent, one answered")


def test_late(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(mode="late", late_us=80_000)
    reading = read(driver)
    assert 80_000_000 <= reading.observed_ns - reading.requested_ns < 2_000_000_000
    clock = device_settings(device.control)
    assert clock.time_at(reading.requested_ns) <= reading.time_ns < clock.time_at(reading.requested_ns + 50_000_000)
    wait_for(lambda: counts(device) == (1, 0, 0, 0, 1), "one late")


def test_late_answer_is_dropped_for_a_new_request(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(mode="late", late_us=300_000)
    assert driver.read_phc(timeout_s=0.05) is None
    device.ask(mode="ok")
    assert within(device, read(driver), 0)
    time.sleep(0.4)
    assert driver.memory[0x3000:0x3002] == (2).to_bytes(2, "little")


def test_busy(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(busy_us=20_000)
    reading = read(driver)
    assert reading.observed_ns - reading.requested_ns >= 20_000_000
    assert within(device, reading, 0)


def test_spread_answers_take_longer_by_chance_and_their_time_is_the_middle(
    device: RunningDevice, driver: ProgramDriver
) -> None:
    device.ask(spread_us=40_000)
    readings = [read(driver) for _ in range(12)]
    lasted = [reading.observed_ns - reading.requested_ns for reading in readings]
    assert max(lasted) - min(lasted) > 5_000_000
    assert sorted(lasted)[8] < 140_000_000  # a few may be held up by others
    clock = device_settings(device.control)
    assert all(within(device, reading, 0) for reading in readings)
    shares = [
        (reading.time_ns - clock.time_at(reading.requested_ns)) / took
        for reading, took in zip(readings, lasted, strict=True)
        if 15_000_000 < took < 60_000_000  # what takes longer was held up by others
    ]
    assert not shares or 0.25 < median(shares) < 0.75  # of all, as some of the others were held up too


def test_after_a_pause_the_first_of_spread_answers_takes_the_longest_and_the_second_no_longer(
    device: RunningDevice, driver: ProgramDriver
) -> None:
    device.ask(spread_us=40_000)
    for _ in range(2):
        readings = [read(driver) for _ in range(3)]
        lasted = [reading.observed_ns - reading.requested_ns for reading in readings]
        assert lasted[0] >= 40_000_000
        assert lasted[1] < 20_000_000
        time.sleep(0.7)


def test_rate(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(rate_per_s=5)
    assert [read(driver).error_flags for _ in range(8)] == [0] * 5 + [ERROR_TIMESTAMP] * 3
    time.sleep(0.45)
    assert [read(driver).error_flags for _ in range(3)] == [0, 0, ERROR_TIMESTAMP]


def test_refuse_every(device: RunningDevice, driver: ProgramDriver) -> None:
    device.ask(refuse_every=4)
    flags = [read(driver).error_flags for _ in range(12)]
    assert flags == [0, 0, 0, ERROR_TIMESTAMP] * 3
    wait_for(lambda: counts(device) == (12, 9, 3, 0, 0), "each fourth refused")


def start_value(name: str, number: int) -> int | bool | str:
    """A value of a key that differs from the default and from the values of other keys."""
    match KEYS[name]:
        case IntegerKey():
            return number + 2
        case FlagKey():
            return True
        case ChoiceKey(choices):
            return choices[-1]


def test_all_bends_at_the_start(start: Start) -> None:
    bent = {name: start_value(name, number) for number, name in enumerate(START_KEYS)} | {"offset_ns": 1_000_000_000}
    options = [("--" + name.replace("_", "-"), str(value)) for name, value in bent.items()]
    state = start(*(word for name, value in options for word in ([name] if value == "True" else [name, value]))).ask()
    offset_ns = bent.pop("offset_ns")
    assert {name: state[name] for name in bent} == bent
    assert abs(state["base_utc_ns"] - offset_ns - time.time_ns()) < 60_000_000_000
    assert state["now_ns"] == state["base_utc_ns"]
