"""The newest measurement of each type, on both databases."""

from collections.abc import Callable

from harness.model import Outcome
from harness.store.ledger import Ledger
from harness.store.newest_clocks import NewestClock, read_newest_clocks
from harness.store.tables import HOSTS, RUNS
from tests.doubles.records import make_host, make_verdict

OpenLedger = Callable[[], Ledger]


def judge(
    ledger: Ledger, name: str, outcome: Outcome, *, offset_ns: float | None = None, region: str | None = None
) -> str:
    """A run of one host of this type, which has ended."""
    run = ledger.open_run(bench="ec2" if region else "lab", campaign={}, hosts={name: name})
    line = ledger.claim(run)
    assert line is not None
    record = make_host(name=name, instance_type=name, verdict=make_verdict(outcome=outcome), region=region)
    ledger.record_state(line.token, record)
    values = {"offset_p99_ns": offset_ns, "bound_p99_ns": None if offset_ns is None else offset_ns * 10}
    ledger.database.write(lambda db: db.execute(HOSTS.update().where(HOSTS.c.run == run).values(values)))
    return run


def age(ledger: Ledger, run: str, seconds: float) -> None:
    """Let a run have begun so long ago."""
    earlier = RUNS.update().where(RUNS.c.run == run).values(started_ns=RUNS.c.started_ns - round(seconds * 1e9))
    ledger.database.write(lambda db: db.execute(earlier))


def plain(clocks: list[NewestClock]) -> set[tuple[object, ...]]:
    return {
        (each.bench, each.instance_type, each.region, each.outcome, each.offset_p99_ns, each.bound_p99_ns)
        for each in clocks
    }


def test_an_empty_ledger_has_no_clock(open_ledger: OpenLedger) -> None:
    assert read_newest_clocks(open_ledger().database) == []


def test_each_type_has_its_newest_verdict_in_each_region(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    age(ledger, judge(ledger, "m7i.large", Outcome.FAIL, offset_ns=9000.0, region="eu-north-1"), 3600)
    judge(ledger, "m7i.large", Outcome.PASS, offset_ns=80.0, region="eu-north-1")
    judge(ledger, "m7i.large", Outcome.INCONCLUSIVE, region="us-east-1")
    age(ledger, judge(ledger, "lab.phc", Outcome.PASS, offset_ns=50.0), 91 * 86400)
    clocks = list(read_newest_clocks(ledger.database))
    assert plain(clocks) == {
        ("ec2", "m7i.large", "eu-north-1", Outcome.PASS, 80.0, 800.0),
        ("ec2", "m7i.large", "us-east-1", Outcome.INCONCLUSIVE, None, None),
    }
    assert all(0 <= each.age_s < 600 for each in clocks)


def test_a_host_without_a_verdict_hides_no_earlier_one(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    age(ledger, judge(ledger, "lab.phc", Outcome.PASS, offset_ns=50.0), 60)
    ledger.claim(ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}))
    (clock,) = read_newest_clocks(ledger.database)
    assert (clock.outcome, clock.offset_p99_ns) == (Outcome.PASS, 50.0)
