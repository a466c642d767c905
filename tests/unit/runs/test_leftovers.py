"""What a sweep may remove, what it tells and leaves, and that no single thing stops it: with any source of hosts."""

import datetime
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.benches.bench import Progress, ignore_progress
from harness.errors import CleanupError
from harness.model import Resource, Token
from harness.runs import leftovers
from harness.store import adhoc_runs
from harness.store.ledger import Ledger
from tests.doubles.removable import list_removable

PAST, FUTURE = "2026-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@dataclass
class Things:
    """A bench that only lists and releases."""

    name: str
    there: list[Resource] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    stuck: frozenset[str] = frozenset()

    def resources(self) -> Sequence[Resource]:
        return self.there

    def extend_lease(self, token: Token, until: datetime.datetime) -> None: ...

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        if str(token) in self.stuck:
            raise CleanupError([str(token)], next_step="by hand")
        self.released.append(str(token))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    books = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield books
    books.close()


def thing(token: str, **more: Any) -> Resource:
    return Resource(token=token, kind="instance", name=f"i-{token}", detail="", **more)


def removable(ledger: Ledger, bench: Things) -> dict[str, str]:
    return {str(item.token): item.why for item in leftovers.survey(ledger, bench).removable}  # type: ignore[arg-type]


def left_alone(ledger: Ledger, bench: Things) -> dict[str, str]:
    return {one.resource.token: one.why for one in leftovers.survey(ledger, bench).left_alone}  # type: ignore[arg-type]


BAD = ("*/*/1", "", "production", "a/b", "../../x/1", "k3f9/a/0", "k3f9/a/1\n", "\x1b[2J/a/1")


@pytest.mark.parametrize("name", ["ec2", "lab"])
def test_one_bad_token_stops_nothing(ledger: Ledger, name: str) -> None:
    bench = Things(name, [*map(thing, BAD), thing("k3f9/a/1")])
    assert removable(ledger, bench) == {"k3f9/a/1": "its run is in no ledger here"}
    assert left_alone(ledger, bench) == {token: f"not a token: {token!r}" for token in BAD}
    assert leftovers.remove(list_removable(ledger, bench), bench) == {}  # type: ignore[arg-type]
    assert bench.released == ["k3f9/a/1"]


def test_what_cannot_be_removed_keeps_no_other(ledger: Ledger) -> None:
    bench = Things("lab", [thing("k3f9/a/1"), thing("k3f9/b/1")], stuck=frozenset({"k3f9/a/1"}))
    remains = leftovers.remove(list_removable(ledger, bench), bench)  # type: ignore[arg-type]
    assert remains == {Token.parse("k3f9/a/1"): ["k3f9/a/1"]}
    assert bench.released == ["k3f9/b/1"]


def test_a_name_tells_of_a_process_or_a_person_in_the_lab_alone(ledger: Ledger) -> None:
    program = "from harness.store import adhoc_runs; print(adhoc_runs.make_run_name())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    tokens = [f"{dead}/lab.phc/1", f"{adhoc_runs.make_run_name()}/lab.phc/1", "lab/by-hand/1"]
    lab = Things("lab", [thing(token) for token in tokens])
    assert removable(ledger, lab) == {tokens[0]: "the process that kept it warm died"}
    cloud = Things("ec2", [thing(token, expires=FUTURE) for token in tokens])
    assert removable(ledger, cloud) == left_alone(ledger, cloud) == {}, "there only the lease tells"
    cloud = Things("ec2", [thing(token, expires=FUTURE, unproven="w") for token in tokens])
    assert removable(ledger, cloud) == {}


def test_a_run_of_another_bench_is_none_of_this_one(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    bench = Things("ec2", [thing(f"{run}/a/1", expires=PAST)])
    assert removable(ledger, bench) == {f"{run}/a/1": "its run is in no ledger here, and its lease has ended"}


def test_something_forged_beside_our_own_neither_goes_nor_keeps_it(ledger: Ledger) -> None:
    ours, forged = thing("k3f9/a/1", expires=PAST), thing("k3f9/a/1", expires=FUTURE, unproven="w")
    bench = Things("ec2", [ours, forged])
    (item,) = leftovers.survey(ledger, bench).removable  # type: ignore[arg-type]
    assert item.resources == (ours,)
    living = thing("k3f9/a/1", expires=FUTURE)
    assert removable(ledger, Things("ec2", [ours, living])) == {}, "two of ours: the longer lease counts"


def test_an_alarm_is_what_names_a_run_of_ours(ledger: Ledger) -> None:
    run = ledger.open_run(bench="ec2", campaign={}, hosts={"a": "m7i.large"})
    bench = Things("ec2", [thing(f"{run}/a/1", unproven="w"), thing("zzzz/a/1", unproven="w")])
    survey = leftovers.survey(ledger, bench)  # type: ignore[arg-type]
    assert {one.resource.token: one.names_our_run for one in survey.left_alone} == {
        f"{run}/a/1": True,
        "zzzz/a/1": False,
    }
