"""The clock's arithmetic, and its sharing between processes."""

import os
from dataclasses import fields, replace

import pytest
from ena_device.bends import KEYS, Changes, ChoiceKey, FlagKey, IntegerKey, bend, check
from ena_device.clock import ClockSettings, Mode, RequestCounts, SharedClock
from ena_device.device_errors import BadRequest
from ena_device.phc import RateLimit

CLOCK = ClockSettings(base_utc_ns=1_000_000_000_000, base_mono_ns=500)


@pytest.mark.parametrize(
    ("freq_ppb", "frozen", "passed_ns", "shown_ns"),
    [
        (0, False, 0, 1_000_000_000_000),
        (0, False, 1_000_000_000, 1_001_000_000_000),
        (5_000, False, 1_000_000_000, 1_001_000_005_000),
        (-5_000, False, 1_000_000_000, 1_000_999_995_000),
        (1, False, 999_999_999, 1_000_999_999_999),  # a part of a nanosecond does not count yet
        (1, False, 1_000_000_000, 1_001_000_000_001),
        (5_000, True, 1_000_000_000, 1_000_000_000_000),
    ],
)
def test_time_shown(freq_ppb: int, frozen: bool, passed_ns: int, shown_ns: int) -> None:
    clock = ClockSettings(base_utc_ns=1_000_000_000_000, base_mono_ns=500, freq_ppb=freq_ppb, frozen=frozen)
    assert clock.time_at(500 + passed_ns) == shown_ns


@pytest.mark.parametrize(
    ("changes", "shown_ns", "a_second_later_ns"),
    [
        (Changes(), 1_002_000_000_000, 1_003_000_000_000),
        (Changes(step_ns=-7), 1_001_999_999_993, 1_002_999_999_993),
        (Changes(offset_ns=5_000), 9_000_005_000, 10_000_005_000),
        (Changes(offset_ns=5_000, step_ns=3), 9_000_005_003, 10_000_005_003),
        (Changes(freq_ppb=10), 1_002_000_000_000, 1_003_000_000_010),
        (Changes(frozen=True), 1_002_000_000_000, 1_002_000_000_000),
    ],
)
def test_bend_keeps_the_time_unless_it_is_set(changes: Changes, shown_ns: int, a_second_later_ns: int) -> None:
    bent = bend(CLOCK, changes, utc_ns=9_000_000_000, mono_ns=2_000_000_500)
    assert (bent.time_at(2_000_000_500), bent.time_at(3_000_000_500)) == (shown_ns, a_second_later_ns)


def test_thawed_clock_goes_on_from_where_it_stood() -> None:
    frozen = bend(CLOCK, Changes(frozen=True), utc_ns=0, mono_ns=1_000_000_500)
    thawed = bend(frozen, Changes(frozen=False), utc_ns=0, mono_ns=5_000_000_500)
    assert thawed.time_at(6_000_000_500) == 1_002_000_000_000


def test_bend_takes_over_every_setting() -> None:
    """Every key that is a field of the clock changes this field."""
    names = [field.name for field in fields(ClockSettings) if field.name not in ("base_utc_ns", "base_mono_ns")]
    assert [name for name in names if name not in KEYS] == []
    for number, name in enumerate(names):
        match KEYS[name]:
            case IntegerKey():
                value: int | bool | str = number + 1
            case FlagKey():
                value = True
            case ChoiceKey(choices):
                value = choices[-1]
        bent = bend(CLOCK, check({name: value}), utc_ns=0, mono_ns=500)
        expected = Mode[value] if isinstance(value, str) else value
        assert bent == replace(CLOCK, **{name: expected}, base_utc_ns=bent.base_utc_ns, base_mono_ns=500)


@pytest.mark.parametrize("step_ns", [-1_000_000_000_001, 2**62])
def test_clock_outside_its_range_is_refused(step_ns: int) -> None:
    with pytest.raises(BadRequest, match="the clock would show"):
        bend(CLOCK, Changes(step_ns=step_ns), utc_ns=0, mono_ns=500)


def test_settings_and_counts_reach_another_process() -> None:
    clock = SharedClock(CLOCK)
    settings = ClockSettings(base_utc_ns=-5, base_mono_ns=2**62, frozen=True, mode=Mode.err_both, jitter_ns=9)
    pid = os.fork()
    if not pid:
        clock.load()
        clock.store(settings)
        clock.store_counts([6, 3, 1, 1, 1, 2**60])
        os._exit(0)
    os.waitpid(pid, 0)
    assert clock.load() == settings
    assert clock.load_counts() == RequestCounts(asked=6, answered=3, refused=1, silent=1, late=1, last_ns=2**60)


def test_rate_limit_is_a_second_of_requests_and_then_the_rate() -> None:
    limit = RateLimit()
    second = 1_000_000_000
    assert [limit.allows(4, 0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [limit.allows(4, second // 4), limit.allows(4, second // 4)] == [True, False]
    assert [limit.allows(4, 9 * second) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [limit.allows(2, 9 * second) for _ in range(3)] == [True, True, False]  # a new rate starts full
