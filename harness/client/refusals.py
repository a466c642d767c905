"""Turn the answer of a request that the service refused into an error with its sentence and next step."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from harness.errors import RequestError
from harness.untrusted.plain_text import clip, printable

PROBLEM_TYPE = "application/problem+json"

_MOST_CHARACTERS = 4000
_MOST_MISTAKES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedKey:
    """A mistake in a request: its key, and its line in the campaign that was sent (None: it has no line)."""

    key: str
    message: str
    line: int | None


class RefusedError(RequestError):
    """A request that the service refused. `status`: of its answer; `mistakes`: those of a campaign, or of parameters.

    `repeated`: whether an earlier try of the same call failed, and may have been carried out.
    """

    repeated = False

    def __init__(self, message: str, *, next_step: str = "", status: int, mistakes: Sequence[RefusedKey] = ()) -> None:
        super().__init__(message, next_step=next_step)
        self.status, self.mistakes = status, tuple(mistakes)


def read_refusal(status: int, body: bytes, url: str) -> RefusedError:
    """Read the answer of a request that was refused, a problem (RFC 9457) or anything else."""
    problem = _load(body)
    detail = problem.get("detail")
    if not isinstance(detail, str) or not detail:
        return RefusedError(
            f"{url} answered {_describe_status(status)}, and not as a service of PTP Harness does",
            next_step="check the URL of the service: such as https://ptp.example.org, without a path",
            status=status,
        )
    return RefusedError(
        _bound(detail), next_step=_bound(problem.get("next_step")), status=status, mistakes=_read_mistakes(problem)
    )


def describe_failure(status: int, body: bytes) -> str:
    """Say in one phrase how the service failed: its status, and what it says about it."""
    detail = _bound(_load(body).get("detail"))
    return f"{_describe_status(status)}: {detail}" if detail else _describe_status(status)


def _load(body: bytes) -> Mapping[str, Any]:
    try:
        loaded = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _read_mistakes(problem: Mapping[str, Any]) -> list[RefusedKey]:
    listed = problem.get("mistakes")
    mistakes = [each for each in listed[:_MOST_MISTAKES] if isinstance(each, dict)] if isinstance(listed, list) else []
    return [
        RefusedKey(
            key=_bound(each.get("key")),
            message=_bound(each.get("message")),
            line=line if isinstance(line := each.get("line"), int) else None,
        )
        for each in mistakes
    ]


def _bound(text: object) -> str:
    return clip(printable(text), _MOST_CHARACTERS) if isinstance(text, str) else ""


def _describe_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
