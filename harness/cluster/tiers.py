"""Find the suites of this project's own tests: a tier is a folder of tests, and what its files are marked with decides.

A suite has the files of one tier that may run at the same time. Files whose tests share a group of xdist (`guests`,
`quiet`) make an exclusive suite, files marked `destructive` one of their own. Marks are read from the source, without
importing it: what a file imports may not be there where suites are planned.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.suites import SuiteKind
from harness.errors import RequestError
from harness.untrusted.nearest import nearest_names

SLOW_MARKS = ("truth", "real_driver")
"""Marks of tests that take minutes each, and that run only where they are asked for."""

DESTRUCTIVE_MARK = "destructive"
_GROUPS = {"quiet": SuiteKind.QUIET, "guests": SuiteKind.GUESTS}
_MOST_LEVELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSuite:
    """A suite of tests. `files`: in the source tree. `destructive`: it needs a namespace of its own.

    `expected_s`: how long it took before; None where it never ran.
    """

    name: str
    tier: str
    kind: SuiteKind
    files: tuple[str, ...]
    destructive: bool = False
    expected_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileMarks:
    """The marks of a file: those of its tests, those of all of them, and its groups of xdist."""

    some: frozenset[str]
    all: frozenset[str]
    groups: frozenset[str]


def find_suites(
    source: Path, tiers: Sequence[str] = (), *, include_slow: bool = False, include_destructive: bool = False
) -> list[TierSuite]:
    """Find the suites of a source tree, or those of these tiers or names, sorted by name.

    Raises RequestError where there is no such tree or tier.
    """
    if not (source / "tests").is_dir():
        raise RequestError(
            f"there are no tests in {source}", next_step="the image of the tests: `make image TARGET=tests` builds it"
        )
    files: dict[tuple[str, SuiteKind, bool], list[str]] = {}
    for path in sorted((source / "tests").rglob("test_*.py")):
        marks = _read_marks(path)
        destructive = DESTRUCTIVE_MARK in marks.some
        if (destructive and not include_destructive) or (marks.all & {*SLOW_MARKS} and not include_slow):
            continue
        kind = next((kind for group, kind in _GROUPS.items() if group in marks.groups), SuiteKind.SHARED)
        tier = "/".join(path.relative_to(source / "tests").parent.parts[:_MOST_LEVELS]) or "tests"
        files.setdefault((tier, kind, destructive), []).append(str(path.relative_to(source)))
    suites = [
        TierSuite(
            name=_name_suite(tier, kind, destructive=destructive),
            tier=tier,
            kind=kind,
            files=tuple(paths),
            destructive=destructive,
        )
        for (tier, kind, destructive), paths in files.items()
    ]
    return sorted(_choose(suites, tiers), key=lambda suite: suite.name)


def make_mark_expression(*, include_slow: bool) -> str:
    """Return the expression by which pytest selects the tests of a suite; "" selects all."""
    return "" if include_slow else " and ".join(f"not {mark}" for mark in SLOW_MARKS)


def _name_suite(tier: str, kind: SuiteKind, *, destructive: bool) -> str:
    """Name a suite as a label of Kubernetes may be."""
    parts = [tier, "" if kind is SuiteKind.SHARED else kind.value, DESTRUCTIVE_MARK if destructive else ""]
    return "-".join(part for part in parts if part).replace("/", "-").replace("_", "-")


def _choose(suites: Sequence[TierSuite], tiers: Sequence[str]) -> Iterator[TierSuite]:
    for wanted in tiers:
        if not any(_is_meant(suite, wanted) for suite in suites):
            names = sorted({suite.tier.partition("/")[0] for suite in suites} | {suite.name for suite in suites})
            near = nearest_names(wanted, names, most=1, likeness=0.6)
            raise RequestError(
                f"there is no tier of tests {wanted!r}{f' (did you mean {near[0]}?)' if near else ''}",
                next_step=f"tiers: {', '.join(sorted({suite.tier.partition('/')[0] for suite in suites}))}",
            )
    for suite in suites:
        if not tiers or any(_is_meant(suite, wanted) for wanted in tiers):
            yield suite


def _is_meant(suite: TierSuite, wanted: str) -> bool:
    """Whether a name means this suite: its own, that of its tier, or that of a folder above it."""
    plain = wanted.strip("/").removeprefix("tests/")
    return plain == suite.name or plain == suite.tier or suite.tier.startswith(f"{plain}/")


def _read_marks(path: Path) -> _FileMarks:
    """Read the marks in a file: `pytest.mark.NAME`, with or without arguments."""
    tree = ast.parse(path.read_text(), str(path))
    of_file = [node for node in tree.body if _is_pytestmark(node)]
    of_all = {name for value in of_file for name, _ in _find_marks(value)}
    found = list(_find_marks(tree))
    groups = {group for name, group in found if name == "xdist_group" and group is not None}
    return _FileMarks(some=frozenset(name for name, _ in found), all=frozenset(of_all), groups=frozenset(groups))


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
    )


def _find_marks(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each mark in a tree, and its first argument where that is a text."""
    called: set[int] = set()
    for node in ast.walk(tree):
        mark = node.func if isinstance(node, ast.Call) else node
        if isinstance(mark, ast.Attribute) and ast.unparse(mark.value) == "pytest.mark" and id(mark) not in called:
            first = node.args[0] if isinstance(node, ast.Call) and node.args else None
            text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
            called.add(id(mark))
            yield mark.attr, text
