"""Why did the engine fail? Its own events tell: which resource, in EC2's code and words. Its text is never parsed."""

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
    """One resource that could not be made, changed or removed. `kind` is what EC2's code means, None without one."""

    urn: str
    kind: ErrorKind | None
    message: str

    @property
    def code(self) -> str | None:
        """EC2's code in the message, when it has one."""
        return api_errors.find_code(self.message)


class EngineError(HarnessError):
    """An operation of the engine that did not succeed; `failures` are what its events said, in their order."""

    def __init__(
        self, message: str, *, failures: Sequence[ResourceFailure] = (), cancelled: bool = False, next_step: str = ""
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.failures, self.cancelled = tuple(failures), cancelled

    def cause(self, what: str) -> BenchError | None:
        """EC2's first refusal as the bench's own error, also one that it found out late; None where there is none."""
        refused = next((failure for failure in self.failures if failure.code is not None), None)
        return None if refused is None else api_errors.from_text(refused.message, what)


class LockedError(EngineError):
    """A stack that another process, which lives, works on: what it makes could be missed by whoever goes on now."""


def failure(urn: str, message: str) -> ResourceFailure | None:
    """What a diagnostic of severity "error" says; None for one that only repeats that something failed.

    The program's own refusals come without a resource: their `urn` is empty.
    """
    words = _FRAME.sub("", _COLOURS.sub("", message).strip()).strip()
    if not words or _REPEATS.match(words):
        return None
    code = api_errors.find_code(words)
    return ResourceFailure(urn=urn, kind=api_errors.kind_of_code(code, words) if code else None, message=words)


def short(urn: str) -> str:
    """A resource as people name it: "Instance host-al2023"."""
    types, _, name = urn.rpartition("::")
    return f"{types.rpartition(':')[2]} {name}"


def progress(event: Mapping[str, Any]) -> str | None:
    """One line about a resource that is begun or done, from a worker's event; None for what nobody waits for."""
    words = _DOING if event["begun"] else _DONE
    verb = words.get(event["operation"])
    return f"{verb} {short(event['urn'])}" if verb else None


def asks_for_instance(event: Mapping[str, Any]) -> bool:
    """Whether a worker's event is the beginning of an instance."""
    makes = event["begun"] and event["operation"] in _MAKING
    return bool(makes and event["urn"].rpartition("::")[0].endswith(_INSTANCE))


_INSTANCE = "aws:ec2/instance:Instance"
_MAKING = ("create", "create-replacement")

_DOING = {"create": "creating", "delete": "removing", "update": "changing", "refresh": "looking at"}
_DOING |= {"create-replacement": "creating", "delete-replaced": "removing", "discard-replaced": "removing"}
_DONE = {"create": "created", "delete": "removed", "update": "changed"}
_DONE |= {"create-replacement": "created", "delete-replaced": "removed"}
