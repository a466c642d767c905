"""When a schedule is due: known answers, also where clocks are changed, and times that passed while nobody looked."""

import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from harness.errors import RequestError
from harness.runs.due_times import MOST_COUNTED, PassedTimes, check_times, find_next_ns, find_passed

S = 10**9
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    moment = datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp()) * S


def following(cron: str, zone: str, after: int, number: int) -> list[str]:
    """The next times, in UTC."""
    times = []
    for _ in range(number):
        found = find_next_ns(cron, zone, after)
        assert found is not None
        after = found
        times.append(f"{datetime.datetime.fromtimestamp(after / S, datetime.UTC):%Y-%m-%d %H:%M}")
    return times


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * * *", "2026-11-29 02:00"),
        ("*/15 * * * *", "2026-11-28 10:15"),
        ("59 23 28 11 *", "2026-11-28 23:59"),
        ("0 2 * * 1", "2026-11-30 02:00"),
        ("0 2 * * mon-fri", "2026-11-30 02:00"),
        ("0 0 1 1 *", "2027-01-01 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 6 L * *", "2026-11-30 06:00"),
        ("0 6 * * 5#1", "2026-12-04 06:00"),
        ("0 0 13 * 5", "2026-12-04 00:00"),
    ],
)
def test_the_next_time_of_an_expression(cron: str, expected: str) -> None:
    assert following(cron, "UTC", at("2026-11-28 10:00"), 1) == [expected]


def test_the_next_time_is_behind_the_moment_itself() -> None:
    due = at("2026-11-28 02:00")
    assert find_next_ns("0 2 * * *", "UTC", due) == at("2026-11-29 02:00")
    assert find_next_ns("0 2 * * *", "UTC", due - 1) == due
    assert find_next_ns("0 2 * * *", "UTC", due + 1) == at("2026-11-29 02:00")


def test_a_zone_has_its_own_nights() -> None:
    assert following("0 2 * * *", "Asia/Kolkata", at("2026-11-28 10:00"), 2) == ["2026-11-28 20:30", "2026-11-29 20:30"]
    assert following("0 2 * * *", "America/New_York", at("2026-11-28 10:00"), 1) == ["2026-11-29 07:00"]


def test_a_time_that_the_clocks_skip_comes_right_after_it_once() -> None:
    """On 2026-03-29 Berlin's clocks go from 02:00 to 03:00, at 01:00 UTC."""
    assert following("30 2 * * *", BERLIN, at("2026-03-27 12:00"), 4) == [
        "2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30", "2026-03-31 00:30",
    ]  # fmt: skip
    assert following("0,30 2,3 * * *", BERLIN, at("2026-03-29 00:00"), 3) == [
        "2026-03-29 01:00", "2026-03-29 01:30", "2026-03-30 00:00",
    ]  # fmt: skip


def test_a_time_that_the_clocks_repeat_comes_once() -> None:
    """On 2026-10-25 Berlin's clocks go from 03:00 back to 02:00, at 01:00 UTC."""
    assert following("30 2 * * *", BERLIN, at("2026-10-24 12:00"), 3) == [
        "2026-10-25 00:30", "2026-10-26 01:30", "2026-10-27 01:30",
    ]  # fmt: skip
    assert following("15,45 2 * * *", BERLIN, at("2026-10-24 12:00"), 3) == [
        "2026-10-25 00:15", "2026-10-25 00:45", "2026-10-26 01:15",
    ]  # fmt: skip


def test_a_schedule_that_is_made_in_the_repeated_hour_is_due_the_next_day() -> None:
    made = at("2026-10-25 02:10", BERLIN, fold=1)
    assert following("30 2 * * *", BERLIN, made, 1) == ["2026-10-26 01:30"]


def test_what_is_due_each_half_hour_follows_the_time_that_passes() -> None:
    for begin in ("2026-03-28 23:00", "2026-10-24 23:00"):
        times = [at(text) for text in following("*/30 * * * *", BERLIN, at(begin), 12)]
        assert {later - earlier for earlier, later in pairwise(times)} == {1800 * S}


@pytest.mark.parametrize("zone", [BERLIN, "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 */2 * * *", "*/20 1-3 * * *", "0 0 * * *"])
def test_times_only_grow_for_two_years(zone: str, cron: str) -> None:
    time_ns, end = at("2026-01-01 00:00"), at("2028-01-01 00:00")
    count = 0
    while time_ns < end:
        found = find_next_ns(cron, zone, time_ns)
        assert found is not None
        assert found > time_ns
        assert (found - time_ns) / S < 27 * 3600
        time_ns, count = found, count + 1
    assert count >= 729


# -- times that have passed


def test_a_time_that_is_seen_at_once_is_not_missed() -> None:
    due = at("2026-11-28 02:00")
    for late_s in (0, 1, 60):
        passed = find_passed("0 2 * * *", "UTC", due, due + late_s * S)
        assert passed == PassedTimes(latest_ns=due, next_ns=at("2026-11-29 02:00"), missed=0)
    assert find_passed("0 2 * * *", "UTC", due, due + 61 * S).missed == 1


def test_times_that_passed_while_nobody_looked_are_counted_and_the_latest_stays() -> None:
    due = at("2026-11-25 02:00")
    passed = find_passed("0 2 * * *", "UTC", due, at("2026-11-27 12:00"))
    assert passed == PassedTimes(latest_ns=at("2026-11-27 02:00"), next_ns=at("2026-11-28 02:00"), missed=3)
    just_now = find_passed("0 2 * * *", "UTC", due, at("2026-11-27 02:00") + 5 * S)
    assert just_now == PassedTimes(latest_ns=at("2026-11-27 02:00"), next_ns=at("2026-11-28 02:00"), missed=2)


def test_a_year_of_minutes_is_counted_as_far_as_it_matters() -> None:
    due, now = at("2025-11-28 02:00"), at("2026-11-28 02:00")
    passed = find_passed("* * * * *", "UTC", due, now + 30 * S)
    assert (passed.missed, passed.next_ns) == (MOST_COUNTED, now + 60 * S)


# -- what is refused


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("", "wrong number of fields"),
        ("* * * *", "wrong number of fields"),
        ("* * * * * *", "wrong number of fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * mo", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("a b c d e", "bad minute"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("@daily x x x x", "bad minute"),
        ("\u0661 * * * *", "bad minute"),
        ("9" * 120 + " * * * *", "bad minute"),
    ],
)
def test_what_is_no_expression_is_refused(cron: str, problem: str) -> None:
    with pytest.raises(RequestError, match=f"is no cron expression: {problem}") as refused:
        check_times(cron, "UTC")
    assert "day of the week" in refused.value.next_step


def test_what_is_never_due_is_refused() -> None:
    """The fifth Monday of a February is the 29th, which `*/3` leaves out."""
    with pytest.raises(RequestError, match=r"the cron expression '0 0 \*/3 2 MON#5' is never due"):
        check_times("0 0 */3 2 MON#5", "UTC")


@pytest.mark.parametrize(
    "zone", ["", "Berlin", "Europe", "../../etc/passwd", "/etc/passwd", "a\0b", "x" * 300, ".", "UTC\n"]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(RequestError, match="there is no time zone"):
        check_times("0 2 * * *", zone)
