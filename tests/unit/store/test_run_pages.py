"""Pages of the list of runs: each condition chooses what it says, and pages have each run once, also where many change.

Whatever the conditions and the order are, pages have the runs that a search through all runs finds.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product

import pytest
import sqlalchemy as sql

from harness.model import HostState, Outcome
from harness.store import run_pages
from harness.store.ledger import Ledger
from harness.store.ledger_check import check
from harness.store.run_pages import RunSummary, find_summary, list_page
from harness.store.run_query import RunOrder, RunQuery, RunState
from harness.store.tables import OWNERS, RUNS
from tests.doubles.ledger_runs import MadeUpHost, add_run

PASS, FAIL, INCONCLUSIVE, UNSUPPORTED = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED
OpenLedger = Callable[[], Ledger]


@dataclass(frozen=True)
class Known:
    """What was put into a run."""

    run: str
    started_ns: int
    bench: str
    state: RunState
    hosts: list[MadeUpHost]

    def figure(self, order: RunOrder) -> float | None:
        sizes = [host.offset_ns for host in self.hosts if host.offset_ns is not None]
        return max(sizes, default=None)


@pytest.fixture
def known(ledger: Ledger, open_ledger: OpenLedger) -> list[Known]:
    """Forty runs of all kinds; some begun at the same moment, some with equal figures."""
    drawn, dead, found = random.Random(7), open_ledger(), []
    for number in range(40):
        hosts = [
            MadeUpHost(
                instance_type=drawn.choice(("lab.phc", "m7i.large", "m7i.metal", "c8g.large")),
                outcome=drawn.choice((PASS, PASS, FAIL, INCONCLUSIVE, UNSUPPORTED)),
                offset_ns=drawn.choice((None, 50.0, 80.0, 900.5, 1e6 / 3)),
                state=drawn.choice((HostState.RELEASED, HostState.KEPT)),
            )
            for _ in range(drawn.randrange(4))
        ]
        state = drawn.choice((*RunState, RunState.ENDED))
        bench = drawn.choice(("lab", "ec2", "hosts"))
        owner = dead if state is RunState.DIED else ledger
        run = add_run(owner, hosts, bench=bench, stages=(), ended=state is RunState.ENDED)
        found.append(Known(run, 1_000_000_000 * (number // 3), bench, state, hosts))

    def age(db: sql.Connection) -> None:
        for each in found:
            db.execute(RUNS.update().where(RUNS.c.run == each.run).values(started_ns=each.started_ns))
        db.execute(OWNERS.update().where(OWNERS.c.owner == dead.owner).values(pid_start_ticks=1))

    dead.close()
    ledger.database.write(age)
    return found


def in_order(known: list[Known], order: RunOrder) -> list[str]:
    def key(each: Known) -> tuple[bool, float, int, str]:
        figure = None if order is RunOrder.NEWEST else each.figure(order)
        by_figure = (False, 0.0) if order is RunOrder.NEWEST else (figure is None, -(figure or 0.0))
        return (*by_figure, -each.started_ns, each.run)

    return [each.run for each in sorted(known, key=key)]


def walk(ledger: Ledger, query: RunQuery, *, types: tuple[str, ...] = (), most: int = 9) -> list[RunSummary]:
    """All pages, one after the other."""
    found: list[RunSummary] = []
    while page := list_page(
        ledger.database, query, types=types, most=most, after=found[-1].place(query.order) if found else None
    ):
        found += page
        assert len(found) < 1000
    return found


@pytest.mark.parametrize("order", RunOrder)
def test_pages_have_the_runs_that_a_search_through_all_finds(
    ledger: Ledger, known: list[Known], order: RunOrder
) -> None:
    states, benches, outcomes = (None, *RunState), (None, "ec2", "none"), (None, FAIL, UNSUPPORTED)
    times = ((None, None), (5_000_000_000, 15_000_000_000))
    combined = [*product(states, benches, outcomes, times)]
    for state, bench, outcome, (since, until) in [combined[0], *random.Random(order).sample(combined, 12)]:
        query = RunQuery(
            order=order, state=state, bench=bench, outcome=outcome, since_ns=since, until_ns=until, min_offset_ns=None
        )
        expected = [
            each
            for each in known
            if state in (None, each.state)
            and bench in (None, each.bench)
            and (outcome is None or outcome in [host.outcome for host in each.hosts])
            and (since is None or since <= each.started_ns <= (until or 0))
        ]
        assert [each.line.run for each in walk(ledger, query)] == in_order(expected, order), query


@pytest.mark.parametrize("few", [0, 5000])
def test_types_are_chosen_by_patterns_and_the_outcome_is_of_such_a_host(
    ledger: Ledger, known: list[Known], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where few hosts match, and where they are many."""
    monkeypatch.setattr(run_pages, "FEW_HOSTS", few)
    for types, outcome in product(
        (("m7i.*",), ("m7i.large", "c8g.large"), ("*.metal", "lab.*"), ("x*",)), (None, FAIL)
    ):
        query = RunQuery(outcome=outcome, order=RunOrder.OFFSET)

        def matches(host: MadeUpHost, types: tuple[str, ...] = types, outcome: Outcome | None = outcome) -> bool:
            fits = any(fnmatchcase(host.instance_type, pattern) for pattern in types)
            return fits and outcome in (None, host.outcome)

        expected = [each for each in known if any(map(matches, each.hosts))]
        assert [each.line.run for each in walk(ledger, query, types=types)] == in_order(expected, RunOrder.OFFSET)


def test_a_figure_of_the_worst_host_chooses_a_run(ledger: Ledger, known: list[Known]) -> None:
    for query in (RunQuery(min_offset_ns=900.5), RunQuery(min_bound_ns=9005.0)):
        expected = [each for each in known if (each.figure(RunOrder.OFFSET) or 0) >= 900.5]
        assert [each.line.run for each in walk(ledger, query)] == in_order(expected, RunOrder.NEWEST)


def test_a_summary_says_what_its_hosts_are(ledger: Ledger, known: list[Known]) -> None:
    for each in known:
        summary = find_summary(ledger.database, each.run)
        assert summary is not None
        outcomes = [host.outcome for host in each.hosts]
        assert summary.verdicts == {outcome: outcomes.count(outcome) for outcome in Outcome if outcome in outcomes}
        assert list(summary.verdicts) == [outcome for outcome in Outcome if outcome in outcomes]
        figure = each.figure(RunOrder.OFFSET)
        assert (summary.offset_p99_ns, summary.bound_p99_ns) == (figure, None if figure is None else 10 * figure)
        assert (summary.line.state, summary.hosts) == (each.state, len(each.hosts))
        kept = 0 if each.bench == "hosts" else [host.state for host in each.hosts].count(HostState.KEPT)
        assert summary.kept == kept
        assert list(summary.instance_types) == list(dict.fromkeys(host.instance_type for host in each.hosts))
    assert find_summary(ledger.database, "none") is None


def test_runs_that_begin_between_two_pages_move_none(ledger: Ledger, known: list[Known]) -> None:
    first = list_page(ledger.database, RunQuery(), most=20)
    newer = [add_run(ledger) for _ in range(5)]
    rest = list_page(ledger.database, RunQuery(), most=100, after=first[-1].place(RunOrder.NEWEST))
    assert [each.line.run for each in (*first, *rest)] == in_order(known, RunOrder.NEWEST)
    assert {each.line.run for each in list_page(ledger.database, RunQuery(), most=5)} == {*newer}


def test_the_sums_of_a_run_are_those_of_its_hosts_whoever_writes_them(ledger: Ledger, open_ledger: OpenLedger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc", "b": "lab.phc"})
    host = MadeUpHost(outcome=FAIL, offset_ns=70.0)
    ledger.record_verdict(ledger.own_host(run, "a").token, host.record("a"))
    summary = find_summary(ledger.database, run)
    assert summary is not None
    assert (summary.verdicts, summary.offset_p99_ns, summary.hosts) == ({FAIL: 1}, 70.0, 2)
    other = open_ledger()
    passed = replace(host, outcome=PASS, offset_ns=3.0)
    other.record_state(other.own_host(run, "b").token, passed.record("b"))
    summary = find_summary(ledger.database, run)
    assert summary is not None
    assert (summary.verdicts, summary.offset_p99_ns) == ({PASS: 1, FAIL: 1}, 70.0)
    assert check(ledger).faults == ()


def test_a_check_finds_sums_that_are_not_those_of_the_hosts(ledger: Ledger) -> None:
    run = add_run(ledger, [MadeUpHost(), MadeUpHost(outcome=FAIL)])
    assert check(ledger).faults == ()
    ledger.database.write(lambda db: db.execute(RUNS.update().values(failed=0)))
    assert check(ledger).faults == (f"a run's numbers of verdicts are not those of its hosts: {run}",)
