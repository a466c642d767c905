"""Read what pods print, whole and once: also where the connection is lost, or a container is started again.

A node that is lost answers nothing: what its pods print is read once it is back, and nobody waits for it for ever. What
a node rotated away before it was read cannot be had: the marks of our pods tell how many lines that are.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Pod

from harness.cluster.connection import ClusterError, Connection, stream_lines, telling_errors
from harness.cluster.line_count import LineCheck
from harness.cluster.pod_states import is_cut_off

AGAIN_AFTER_S = 1.0
AWAY_FOR_S, CUT_OFF_FOR_S = 60.0, 5.0
SILENT_FOR_S = 20.0
"""A log that brings nothing for so long is asked for anew: nothing tells that a node is lost while one waits for it."""

_ENDED = ("Succeeded", "Failed")
_IN_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?=\.[0-9]{9}$)")


class _PodState(Enum):
    """The end of a pod, or none yet. UNKNOWN: the API server did not tell."""

    RUNS = auto()
    ENDED = auto()
    CUT_OFF = auto()
    GONE = auto()
    UNKNOWN = auto()


@dataclass
class _Place:
    """How far a log was read: the time stamp of the last line, and how many lines had it.

    `starts`: how often the container of these lines had been started before; `check`: of its lines.
    """

    stamp: str = ""
    lines: int = 0
    starts: int = 0
    check: LineCheck = field(default_factory=LineCheck)

    def is_new(self, stamp: str, of_stamp: int) -> bool:
        """Whether the line, the n-th with this time stamp, is behind this place."""
        return (stamp, of_stamp) > (self.stamp, self.lines)

    def describe_second(self) -> str | None:
        """Write the second of this place as a request names it; None at the beginning."""
        match = _IN_UTC.match(self.stamp)
        return f"{match[0]}Z" if match else None


def follow_log(
    connection: Connection,
    pod: str,
    *,
    follow: bool = True,
    tell: Callable[[str], None] = lambda _text: None,
    has_run_ended: Callable[[], bool] = lambda: True,
) -> Iterator[str]:
    """Yield each line that a pod printed so far, then, unless told otherwise, each that it prints until its end.

    After a break the log is read again, without the lines that were there before. A pod whose node is lost is waited
    for until the run has ended; `tell` gets a sentence about lines that are missing. Raises ClusterError when the API
    server stays away for a minute.
    """
    place, unread_since, told = _Place(), None, False
    while True:
        state, starts = _find_state(connection, pod)  # read before the log: all lines of an ended pod are there
        if state is _PodState.GONE:
            return
        error: Exception | None = None
        if state is not _PodState.CUT_OFF:
            try:
                if starts > place.starts:
                    yield from _read_before_restart(connection, pod, place, starts)
                yield from _read_new(connection, pod, place, follow=follow and state is not _PodState.ENDED)
                if state is _PodState.ENDED or not follow:
                    return
            except (ApiError, httpx2.HTTPError) as caught:
                if isinstance(caught, ApiError) and caught.response.status_code == 404:
                    return
                printed_nothing = isinstance(caught, httpx2.ReadTimeout) and follow and state is _PodState.RUNS
                error = None if printed_nothing else caught
        if error is None and state is not _PodState.CUT_OFF:
            unread_since = None
        else:
            unread_since = unread_since or time.monotonic()
            seconds = time.monotonic() - unread_since
            if error is not None and state is _PodState.UNKNOWN and seconds > AWAY_FOR_S:
                with telling_errors(connection, f"reading the log of pod {pod}"):
                    raise error
            if seconds > (CUT_OFF_FOR_S if state is _PodState.CUT_OFF else AWAY_FOR_S):
                if not told:
                    tell(f"the node of pod {pod} does not answer: what the pod printed comes once it does")
                    told = True
                if not follow or state is _PodState.ENDED or has_run_ended():
                    return
        time.sleep(AGAIN_AFTER_S)


def _read_before_restart(connection: Connection, pod: str, place: _Place, starts: int) -> Iterator[str]:
    """Yield what the container before the one that runs now printed, behind this place; a node keeps one of them."""
    if starts - place.starts > 1:
        yield (
            f"-- the container was started again {starts - place.starts} times, and its node keeps the log of the last "
            "one before alone: lines are missing here --"
        )
    try:
        yield from _read_new(connection, pod, place, follow=False, previous=True)
    except ApiError as error:
        if error.response.status_code >= 500:
            raise
        yield "-- what the container printed before it was started again cannot be had: its node has removed it --"
    place.starts, place.check = starts, LineCheck()


def _read_new(
    connection: Connection, pod: str, place: _Place, *, follow: bool, previous: bool = False
) -> Iterator[str]:
    """Yield the lines behind a place; none, where the container is started again meanwhile: its end is read first."""
    before, same, known = "", 0, previous
    path = f"/api/v1/namespaces/{connection.namespace}/pods/{pod}/log"
    parameters = {"timestamps": "true", **({"follow": "true"} if follow else {})}
    if previous:
        parameters["previous"] = "true"
    if (second := place.describe_second()) is not None:
        parameters["sinceTime"] = second
    for raw in stream_lines(connection, path, parameters, silent_for_s=SILENT_FOR_S):
        if not known and _find_state(connection, pod)[1] > place.starts:
            return
        known = True
        written, _, line = raw.partition(" ")
        stamp = _make_sortable(written)
        same = same + 1 if stamp == before else 1
        before = stamp
        if place.is_new(stamp, same):
            place.stamp, place.lines = stamp, same
            yield from place.check.take(line)


def _make_sortable(stamp: str) -> str:
    """Fill up the fraction of a time stamp, from which trailing zeros are left out (RFC 3339 with nanoseconds)."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def _find_state(connection: Connection, pod: str) -> tuple[_PodState, int]:
    """Find what becomes of a pod, and how often its container was started again; 0 where it is not known."""
    try:
        with telling_errors(connection, f"reading pod {pod}"):
            found = connection.client.get(Pod, pod)
    except ClusterError as error:
        return _PodState.GONE if error.status == 404 else _PodState.UNKNOWN, 0
    starts = max((each.restartCount for each in (found.status and found.status.containerStatuses) or ()), default=0)
    if found.status is not None and found.status.phase in _ENDED:
        return _PodState.ENDED, starts
    return _PodState.CUT_OFF if is_cut_off(found) else _PodState.RUNS, starts
