"""Define what the service tells about tasks, and read it from the documents of its answers."""

import datetime
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import SetupError
from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.untrusted.input_checks import show_path

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A submitted campaign. `run`: None before its run began. `position`: its place among those that wait, from 1.

    `outcome`: the worst of its run's hosts. `exit_code`: what `ptp-harness run` would have ended with. `problem`: why
    its run could not begin.
    """

    task: str
    state: TaskState
    run: str | None
    bench: str
    hosts: int
    outcome: Outcome | None
    exit_code: int | None
    problem: str | None
    submitter: str
    submitted: datetime.datetime
    begun: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    cancelled_by: str | None = None
    position: int | None = None
    priority: int = 0
    expected_s: float = 0.0
    site: str | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVersion:
    """Which version of ptp-harness a service is, and the benches that campaigns may use there.

    `schemas`: the versions of its documents and of what it does for hubs, by name.
    """

    version: str
    api: str
    benches: tuple[str, ...]
    schemas: dict[str, int]


def read_document(kind: type[T], data: Any, *, url: str) -> T:
    """Read a document; keys that this version does not know are left out.

    Raises SetupError for one that this version does not understand.
    """
    try:
        read: T = _adapter(kind).validate_python(data)
        return read
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{show_path(first['loc'])}: " if first["loc"] else ""
        raise SetupError(
            f"this version does not understand what {url} answered: {place}{first['msg']}",
            next_step="use a version of ptp-harness that is as new as that of the service",
        ) from error


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
