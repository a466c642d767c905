"""Compute when a schedule is due: a cron expression in a time zone, also across changes of its clocks."""

import datetime
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cronsim import CronSim, CronSimError

from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value

MOST_COUNTED = 10_000
"""Times that passed are counted up to here: a schedule of each minute has as many in a week."""

ON_TIME_S = 60.0
"""A time that is seen so late is not missed: a service that is started again takes less."""

_LAST_YEAR = 2200
_FIELDS = "minute, hour, day of the month, month, day of the week: `0 2 * * *` is 02:00 each day"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedTimes:
    """The times of a schedule that have passed: the latest, the next one, and how many were seen too late.

    `next_ns`: None where it is never due again.
    """

    latest_ns: int
    next_ns: int | None
    missed: int


def check_times(cron: str, zone: str) -> None:
    """Check a cron expression and the name of a time zone. Raises RequestError."""
    if find_next_ns(cron, zone, 0) is None:
        raise RequestError(f"the cron expression {shorten_value(cron)} is never due", next_step=_FIELDS)


def find_next_ns(cron: str, zone: str, after_ns: int) -> int | None:
    """Find when a schedule is due after a time, ns since the epoch; None for never. Raises RequestError."""
    return next(_iterate(cron, zone, after_ns), None)


def find_first_ns(cron: str, zone: str, now_ns: int) -> int:
    """Find when a schedule that is added or resumed is due first; now where it is never due again."""
    return find_next_ns(cron, zone, now_ns) or now_ns


def find_passed(cron: str, zone: str, due_ns: int, now_ns: int) -> PassedTimes:
    """Find the times of a schedule from `due_ns`, which has passed, until now. Raises RequestError."""
    latest_ns, missed = due_ns, 0
    for time_ns in islice(_iterate(cron, zone, due_ns), MOST_COUNTED):
        missed += _is_late(latest_ns, now_ns)
        if time_ns > now_ns:
            return PassedTimes(latest_ns=latest_ns, next_ns=time_ns, missed=missed)
        latest_ns = time_ns
    missed += _is_late(latest_ns, now_ns)
    return PassedTimes(latest_ns=latest_ns, next_ns=find_next_ns(cron, zone, now_ns), missed=min(missed, MOST_COUNTED))


def _is_late(time_ns: int, now_ns: int) -> bool:
    return now_ns - time_ns > ON_TIME_S * 1e9


def _iterate(cron: str, zone: str, after_ns: int) -> Iterator[int]:
    """Yield the times at which a schedule is due after a time, in order.

    An hour that a zone's clocks skip or repeat: as Debian's cron has it, what is due at a fixed time is due once, and
    right after the skipped hour; what is due each hour or minute follows the time that really passes.
    """
    after = datetime.datetime.fromtimestamp(after_ns // 10**9, _load_zone(zone))
    latest_ns = after_ns
    try:
        if len(cron.split()) != 5:
            raise CronSimError("Wrong number of fields")
        for moment in CronSim(cron, after):
            if moment.year > _LAST_YEAR:
                return
            time_ns = int(moment.timestamp()) * 10**9
            if time_ns > latest_ns:
                latest_ns = time_ns
                yield time_ns
    except CronSimError as error:
        problem = str(error)[:1].lower() + str(error)[1:]
        raise RequestError(f"{shorten_value(cron)} is no cron expression: {problem}", next_step=_FIELDS) from error


def _load_zone(zone: str) -> datetime.tzinfo:
    try:
        return zoneinfo.ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise RequestError(
            f"there is no time zone {shorten_value(zone)}", next_step="such as UTC, Europe/Berlin or America/New_York"
        ) from error
