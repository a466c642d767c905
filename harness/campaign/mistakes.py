"""Define the mistakes of a campaign, place each in its file or among the flags, and turn them into one RequestError."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RequestError
from harness.untrusted.input_checks import MOST_MISTAKES, KeyPath, show_path
from harness.untrusted.nearest import nearest_names

COMMAND_LINE = "the command line"

_FLAGS: Mapping[KeyPath, str] = {
    ("measure", "duration"): "--duration",
    **{(key,): f"--{key.replace('_', '-')}" for key in ("bench", "inventory", "region", "image", "depth", "keep")},
    ("parallel",): "--parallel",
    ("read_only",): "--read-only",
}
"""The flags of `run` and `plan`, by the key that each of them overrides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A mistake of a campaign. `path`: its key, `()` for the whole campaign. `remedy`: what to do, as a command."""

    path: KeyPath
    problem: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the values of a campaign were written.

    `where`: the file's name, or `COMMAND_LINE`. `lines`: the file's lines by key path. `flags`: keys as in the file,
    whose values override those of the file. `kind`: what the file holds.
    """

    where: str = COMMAND_LINE
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "campaign"

    @property
    def is_file(self) -> bool:
        return self.where != COMMAND_LINE

    def describe(self, mistake: Mistake) -> str:
        """Write a mistake as `FILE:LINE: key.path: what is wrong; what to do`, or with the flag that gave the value."""
        sentence = "; ".join(part for part in (mistake.problem, mistake.remedy) if part)
        if not self.is_file or self._is_flag(mistake.path):
            key = _FLAGS.get(mistake.path) or show_path(mistake.path)
            return ": ".join(part for part in (COMMAND_LINE, key, sentence) if part)
        key = show_path(mistake.path)
        return f"{self.where}:{self.line(mistake.path)}: " + ": ".join(part for part in (key, sentence) if part)

    def line(self, path: KeyPath) -> int:
        """Find the line of a key, else of its group or list, else 1."""
        lines_above = (self.lines.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in lines_above if line is not None), 1)

    def sort_key(self, mistake: Mistake) -> int:
        return self.line(mistake.path) if self.is_file and not self._is_flag(mistake.path) else 0

    def _is_flag(self, path: KeyPath) -> bool:
        if not path or path[0] not in self.flags:
            return False
        group = self.flags[str(path[0])]
        in_group = len(path) > 1 and isinstance(group, Mapping)
        return path[1] in group if in_group else not isinstance(group, Mapping) or (path[0],) not in self.lines


class MistakesError(RequestError):
    """A campaign with mistakes. `mistakes`: each with its line in the file (None: it has no file) and its key."""

    def __init__(
        self, message: str, *, next_step: str, mistakes: Sequence[tuple[int | None, KeyPath, str]] = ()
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.mistakes = tuple(mistakes)


def refuse(mistakes: Sequence[Mistake], places: Places, *, next_step: str, unnamed: int = 0) -> MistakesError:
    """Make an error that names the mistakes: one a line in the order of the file, at most `MOST_MISTAKES` of them.

    `unnamed`: the number of further mistakes that are only counted.
    """
    ordered = sorted(mistakes, key=places.sort_key)
    lines = list(dict.fromkeys(places.describe(mistake) for mistake in ordered))
    placed = [
        (
            places.line(mistake.path) if places.is_file else None,
            mistake.path,
            "; ".join(part for part in (mistake.problem, mistake.remedy) if part),
        )
        for mistake in ordered[:MOST_MISTAKES]
    ]
    if len(lines) == 1 and not places.is_file:
        return MistakesError(lines[0], next_step=next_step, mistakes=placed)
    total = len(lines) + unnamed
    more = [f"and {total - MOST_MISTAKES} more"] if total > MOST_MISTAKES else []
    number = "1 mistake" if total == 1 else f"{total} mistakes"
    header = f"{number} in {f'{places.kind} {places.where}' if places.is_file else places.where}"
    message = "\n".join([header, *lines[:MOST_MISTAKES], *more])
    return MistakesError(message, next_step=next_step, mistakes=placed)


def suggest(name: str, valid: Sequence[str], *, otherwise: str) -> str:
    """Write "did you mean ...?" with the nearest valid word; `otherwise` where none is near."""
    near = nearest_names(name, valid, most=1, likeness=0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise
