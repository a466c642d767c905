"""Bound what a request may cost: the size of its body, the time for sending it, and the time until its answer."""

import asyncio
import re
import time
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.service.context import MOST_BODY_BYTES
from harness.service.problems import Problem, ServiceError, answer

BODY_WITHIN_S = 30.0
ANSWER_WITHIN_S = 60.0
_TAKES_LONG = re.compile(r"/v1/hosts/[^/]+/[^/]+/(?:keep|release)")  # minutes, until a host is told or removed


class BodyError(ServiceError, HTTPException):  # type: ignore[misc]  # both have headers
    """A body that is too large, or comes too slowly. FastAPI passes an HTTPException on while it reads a body."""

    def __init__(self, status: HTTPStatus, message: str, *, next_step: str) -> None:
        headers = {"Connection": "close"} if status == HTTPStatus.REQUEST_TIMEOUT else {}
        ServiceError.__init__(self, status, message, next_step=next_step, headers=headers)
        self.status_code, self.detail = int(status), message


class BodyLimit:
    """Refuses bodies of more than `MOST_BODY_BYTES`, without reading them to their end, and those that come slowly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 413 or 408."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated[:20]) > MOST_BODY_BYTES:
            await _answer(_too_large(), scope, receive, send)
            return
        await self._app(scope, _bound(receive), send)


def _bound(receive: Receive) -> Receive:
    got, ended = 0, False
    give_up_at: float | None = None

    async def receive_bounded() -> Message:
        nonlocal got, ended, give_up_at
        if ended:  # what comes now is the end of the connection
            return await receive()
        give_up_at = give_up_at or time.monotonic() + BODY_WITHIN_S
        try:
            async with asyncio.timeout(give_up_at - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            ended = True
            raise BodyError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body did not come within {BODY_WITHIN_S:.0f} s",
                next_step="send it again",
            ) from error
        got += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if got > MOST_BODY_BYTES:
            ended = True
            raise _too_large()
        return message

    return receive_bounded


def _too_large() -> BodyError:
    return BodyError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has more than {MOST_BODY_BYTES} bytes",
        next_step="a campaign is a few kilobytes; name types by `select`, or split the campaign",
    )


async def _answer(error: BodyError, scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(title=error.status.phrase, status=error.status, detail=error.message, next_step=error.next_step)
    await answer(problem)(scope, receive, send)


class AnswerDeadline:
    """Answers with 503 a request whose answer does not begin in time, as while the ledger hangs.

    What the request began goes on; its answer is thrown away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch the time."""
        if scope["type"] != "http" or _TAKES_LONG.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        begun = given_up = False
        answers: set[asyncio.Task[None]] = set()

        async def send_in_time(message: Message) -> None:
            nonlocal begun
            begun = True
            if not given_up:
                await send(message)

        def give_up() -> None:
            nonlocal given_up
            if not begun:
                given_up = True
                answers.add(asyncio.create_task(_answer_late(scope, receive, send)))

        timer = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, give_up)
        try:
            await self._app(scope, receive, send_in_time)
        finally:
            timer.cancel()
            if answers:
                await asyncio.wait(answers)


async def _answer_late(scope: Scope, receive: Receive, send: Send) -> None:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    problem = Problem(
        title=status.phrase,
        status=status,
        detail=f"there was no answer within {ANSWER_WITHIN_S:.0f} s",
        next_step="/readyz says what is not ready; try again soon",
    )
    await answer(problem, {"Retry-After": "30"})(scope, receive, send)
