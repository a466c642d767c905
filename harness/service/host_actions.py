"""Keep and release hosts for requests: a few at once in threads of their own, each host by one request at a time."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

from harness.errors import ConflictError
from harness.service.problems import ServiceError

_AT_ONCE = 8
_MOST_WAITING = 50
Result = TypeVar("Result")


class HostActions:
    """The actions on hosts that requests have begun. A bench may take minutes for one: other requests go on.

    An action whose client went away is carried out to its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[tuple[str, str]] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="host-action")

    @property
    def busy(self) -> int:
        """How many hosts are being kept or released."""
        with self._lock:
            return len(self._busy)

    async def carry_out(self, run: str, host: str, action: Callable[[], Result]) -> Result:
        """Carry out an action on a host. Raises ConflictError while another one on it goes on."""
        self._begin(run, host)

        def act() -> Result:
            try:
                return action()
            finally:
                self._end(run, host)

        context = contextvars.copy_context()  # the audit log notes in it what this request wrote
        try:
            future = self._threads.submit(context.run, act)
        except RuntimeError as error:  # the process ends
            self._end(run, host)
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "the service is being stopped") from error
        return await asyncio.shield(asyncio.wrap_future(future))

    def _begin(self, run: str, host: str) -> None:
        with self._lock:
            if (run, host) in self._busy:
                raise ConflictError(
                    f"{host} of run {run} is being kept or released by another request", next_step="wait for its end"
                )
            if len(self._busy) >= _MOST_WAITING:
                raise ServiceError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{len(self._busy)} hosts are being kept or released",
                    next_step="try again in a minute",
                    headers={"Retry-After": "60"},
                )
            self._busy.add((run, host))

    def _end(self, run: str, host: str) -> None:
        with self._lock:
            self._busy.discard((run, host))
