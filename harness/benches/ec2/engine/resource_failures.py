"""Find the causes of an engine's failure from its events: the resource, and EC2's code and message.

The engine's terminal output is never parsed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api_errors import ErrorKind
from harness.errors import HarnessError

_COLOURS = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
_FRAME = re.compile(r"\A(?:error: )?(?:\d+ errors? occurred:\s*)?(?:\* )?")
_REPEATS = re.compile(
    r"(update|destroy|refresh) failed$|an unhandled error occurred: program exited|resource monitor shut"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFailure:
    """A resource that could not be made, changed or removed. `kind` is the kind of EC2's code, None without a code."""

    urn: str
    kind: ErrorKind | None
    message: str

    @property
    def code(self) -> str | None:
        """EC2's code in the message; None without a code."""
        return api_errors.find_code(self.message)


class EngineError(HarnessError):
    """An engine's operation that failed; `failures` are the failures from its events, in their order."""

    def __init__(
        self, message: str, *, failures: Sequence[ResourceFailure] = (), cancelled: bool = False, next_step: str = ""
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.failures, self.cancelled = tuple(failures), cancelled

    def cause(self, task: str) -> BenchError | None:
        """Return EC2's first refusal, early or late, as an error of the bench; None if there is none."""
        refusal = next((failure for failure in self.failures if failure.code is not None), None)
        return None if refusal is None else api_errors.from_text(refusal.message, task)


class LockedError(EngineError):
    """The stack is locked by another live process: a second operation could miss resources that it makes."""


def failure(urn: str, message: str) -> ResourceFailure | None:
    """Convert a diagnostic of severity "error"; None for one that only repeats that something failed.

    Errors of the Pulumi program itself come without a resource: their `urn` is empty.
    """
    text = _FRAME.sub("", _COLOURS.sub("", message).strip()).strip()
    if not text or _REPEATS.match(text):
        return None
    code = api_errors.find_code(text)
    return ResourceFailure(urn=urn, kind=api_errors.kind_of_code(code, text) if code else None, message=text)


def short(urn: str) -> str:
    """Shorten a resource's name for people: "Instance host-al2023"."""
    types, _, name = urn.rpartition("::")
    return f"{types.rpartition(':')[2]} {name}"


def progress(event: Mapping[str, Any]) -> str | None:
    """Make a line about a resource's start or end from a worker's event; None for events without a line."""
    verbs = _DOING if event["begun"] else _DONE
    verb = verbs.get(event["operation"])
    return f"{verb} {short(event['urn'])}" if verb else None


def asks_for_instance(event: Mapping[str, Any]) -> bool:
    """Return whether a worker's event is the start of an instance."""
    makes = event["begun"] and event["operation"] in _MAKING
    return bool(makes and event["urn"].rpartition("::")[0].endswith(_INSTANCE))


_INSTANCE = "aws:ec2/instance:Instance"
_MAKING = ("create", "create-replacement")

_DOING = {"create": "creating", "delete": "removing", "update": "changing", "refresh": "looking at"}
_DOING |= {"create-replacement": "creating", "delete-replaced": "removing", "discard-replaced": "removing"}
_DONE = {"create": "created", "delete": "removed", "update": "changed"}
_DONE |= {"create-replacement": "created", "delete-replaced": "removed"}
