"""Read what pods print, whole and once: also where the connection is lost, or the node rotates the log."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Pod

from harness.cluster.connection import ClusterError, Connection, telling_errors

_AGAIN_AFTER_S = 1.0
_AWAY_FOR_S = 60.0
_ENDED = ("Succeeded", "Failed")


@dataclass
class _Place:
    """How far a log was read: the time stamp of the last line, and how many lines had it."""

    stamp: str = ""
    lines: int = 0

    def is_new(self, stamp: str, of_stamp: int) -> bool:
        """Whether the line, the n-th with this time stamp, is behind this place."""
        return (stamp, of_stamp) > (self.stamp, self.lines)


def follow_log(connection: Connection, pod: str, *, follow: bool = True) -> Iterator[str]:
    """Yield each line that a pod printed so far, then, unless told otherwise, each that it prints until its end.

    A log is read again from its beginning after a break, without the lines that were there before. Raises ClusterError
    when the API server stays away for a minute.
    """
    place, away_since = _Place(), None
    while True:
        ended = not follow or _has_ended(connection, pod)  # read before the log: all of an ended pod are there
        try:
            yield from _read_new(connection, pod, place, follow=not ended)
            away_since = None
        except (ApiError, httpx2.HTTPError) as error:
            if isinstance(error, ApiError) and error.response.status_code == 404:
                return
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > _AWAY_FOR_S:
                with telling_errors(connection, f"reading the log of pod {pod}"):
                    raise
            ended = False
        if ended:
            return
        time.sleep(_AGAIN_AFTER_S)


def _read_new(connection: Connection, pod: str, place: _Place, *, follow: bool) -> Iterator[str]:
    before, same = "", 0
    for raw in connection.client.log(pod, follow=follow, timestamps=True, newlines=False):
        written, _, line = raw.partition(" ")
        stamp = _make_sortable(written)
        same = same + 1 if stamp == before else 1
        before = stamp
        if place.is_new(stamp, same):
            place.stamp, place.lines = stamp, same
            yield line


def _make_sortable(stamp: str) -> str:
    """Fill up the fraction of a time stamp, from which trailing zeros are left out (RFC 3339 with nanoseconds)."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def _has_ended(connection: Connection, pod: str) -> bool:
    try:
        with telling_errors(connection, f"reading pod {pod}"):
            status = connection.client.get(Pod, pod).status
    except ClusterError as error:
        return error.status == 404
    return status is not None and status.phase in _ENDED
