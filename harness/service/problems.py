"""Answer every error as application/problem+json (RFC 9457), with the sentence and next step that the command has."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from harness.campaign.mistakes import MistakesError
from harness.errors import ConflictError, HarnessError, RequestError, SetupError, UnknownNameError
from harness.service.methods import METHODS
from harness.store.task_queue import FullQueueError, RepeatedKeyError
from harness.untrusted.input_checks import show_path
from harness.untrusted.plain_text import clip, printable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "60"
_log = logging.getLogger(__name__)


class ProblemMistake(BaseModel):
    """A mistake in a request: where it is, and what to do. `line`: of the YAML that was sent."""

    key: str
    message: str
    line: int | None = None


class Problem(BaseModel):
    """A problem of a request, as RFC 9457 has it, with our `next_step` and, of a campaign, all its mistakes."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    next_step: str = ""
    mistakes: list[ProblemMistake] = Field(default_factory=list)


class ServiceError(HarnessError):
    """A request that the service refuses, with the status of its answer."""

    def __init__(
        self, status: HTTPStatus, message: str, *, next_step: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.status, self.headers = status, dict(headers or {})


class NotFoundError(ServiceError):
    """A name in an address that nothing has."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(HTTPStatus.NOT_FOUND, message, next_step=next_step)


_STATUS: tuple[tuple[type[HarnessError], HTTPStatus], ...] = (
    (UnknownNameError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (RepeatedKeyError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MistakesError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (FullQueueError, HTTPStatus.TOO_MANY_REQUESTS),
    (RequestError, HTTPStatus.BAD_REQUEST),
    (SetupError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""The status of each kind of error; the first that fits counts."""


def status_of(error: HarnessError) -> HTTPStatus:
    """Choose the status of an error's answer."""
    if isinstance(error, ServiceError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def make_problem(error: HarnessError) -> Problem:
    """Describe an error."""
    status = status_of(error)
    mistakes = error.mistakes if isinstance(error, MistakesError) else ()
    return Problem(
        title=status.phrase,
        status=status,
        detail=printable(error.message),
        next_step=printable(error.next_step),
        mistakes=[
            ProblemMistake(key=show_path(path), message=printable(text), line=line) for line, path, text in mistakes
        ],
    )


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Make the answer of a problem."""
    return JSONResponse(
        problem.model_dump(mode="json"), status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def add_handlers(app: FastAPI) -> None:
    """Let an app answer every error as a problem."""
    app.exception_handler(HarnessError)(_answer_harness_error)
    app.exception_handler(HTTPException)(_answer_http_error)
    app.exception_handler(RequestValidationError)(_answer_invalid)
    app.exception_handler(Exception)(_answer_fault)


def _answer_harness_error(_request: Request, error: HarnessError) -> JSONResponse:
    headers = error.headers if isinstance(error, ServiceError) else {}
    problem = make_problem(error)
    if problem.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers = {"Retry-After": RETRY_AFTER_S, **headers}
    return answer(problem, headers)


def _answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
    phrase = HTTPStatus(error.status_code).phrase
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == phrase:
        detail = f"there is no {clip(printable(request.url.path), 200)}"
    problem = Problem(
        title=phrase, status=error.status_code, detail=detail, next_step="/v1/openapi.json lists all paths"
    )
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_find_allowed(request))
    return answer(problem, headers)


def _find_allowed(request: Request) -> list[str]:
    """Find the methods that an address takes: each may be a route of its own."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.router.routes
        )
    ]


def _answer_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    mistakes = [_mistake(each) for each in error.errors()]
    listed = "; ".join(f"{mistake.key}: {mistake.message}" for mistake in mistakes[:5])
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return answer(Problem(title=status.phrase, status=status, detail=f"not valid: {listed}", mistakes=mistakes))


def _mistake(error: Mapping[str, Any]) -> ProblemMistake:
    key = ".".join(str(part) for part in error["loc"] if part not in ("query", "body", "path", "header"))
    return ProblemMistake(key=clip(printable(key), 100), message=clip(printable(str(error["msg"])), 300))


def _answer_fault(_request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of ours: the log has its trace, the answer has its kind."""
    _log.error("our fault: %s: %s", type(error).__name__, error, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = f"our fault: {type(error).__name__}; the log of the service has more"
    return answer(Problem(title=status.phrase, status=status, detail=detail, next_step="please report this"))
