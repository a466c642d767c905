"""A watch as Prometheus gets it: an old word is no word, what was not observed has no point, and few labels."""

import re
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from harness.model.enums import Reason
from harness.model.watched import StreamState
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_INCIDENTS, WATCH_LOG, WATCH_STATES, WATCH_WORKERS
from harness.store.watch_cursors import Lane, WatchCursors
from harness.store.watch_figures import ClockFigures, WatchFigures, read_watch_figures
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from harness.store.word_age import is_fresh
from harness.watch import metrics
from harness.watch.metrics import write_watch, write_worker
from tests.doubles.readings import make_chunk

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(["offset_ns", "follows_phc", "limits", "read_success", "missed_ticks", "other"])


class Written(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = [*families]

    def collect(self) -> list[Metric]:
        return self._families


def lines(families: Iterable[Metric]) -> dict[str, float]:
    """What Prometheus reads, without the prefix."""
    registry = CollectorRegistry()
    registry.register(Written(families))
    text = generate_latest(registry).decode()
    return {
        f"{sample.name.removeprefix('ptp_harness_watch_')}{dict(sorted(sample.labels.items())) or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def clock(stream: str = "host-1", **changes: Any) -> ClockFigures:
    values: dict[str, Any] = {"state": StreamState.OK, "reason": None, "age_s": 3.0, "figures": {}}
    return ClockFigures(**{**values, "stream": stream, **changes})


def figures(*clocks: ClockFigures, **changes: Any) -> WatchFigures:
    values: dict[str, Any] = {
        "is_led": True, "workers": {"alive": 2}, "capacity": 200.0, "weight": 1.0, "most_load": 0.4, "unassigned": 0,
        "unowned": 0, "stored_ticks": {False: 300}, "log": {}, "incidents": {}, "untold": 0, "oldest_chunk_s": None,
        "lags": (),
    }  # fmt: skip
    return WatchFigures(**{**values, **changes}, clocks=clocks)


def test_a_clock_has_its_state_and_what_was_observed_of_it_in_seconds() -> None:
    observed = {
        "offset_ns": -250, "chrony_bound_ns": 1500, "device_bound_ns": None, "follows_phc": True, "read_success": 0.995,
        "limits": [{"quantity": "phc_offset_ns", "statistic": "p99", "limit": 1e4, "beyond": 3, "points": 600}],
    }  # fmt: skip
    written = lines(write_watch(figures(clock(figures=observed)), 2.0))
    mine = {name: value for name, value in written.items() if name.startswith("clock_") and "left_out" not in name}
    host = "{'stream': 'host-1'}"
    assert mine == {
        "clock_state{'state': 'ok', 'stream': 'host-1'}": 1.0,
        "clock_state{'state': 'degraded', 'stream': 'host-1'}": 0.0,
        "clock_state{'state': 'broken', 'stream': 'host-1'}": 0.0,
        "clock_state{'state': 'unknown', 'stream': 'host-1'}": 0.0,
        f"clock_sample_age_seconds{host}": 5.0,
        f"clock_offset_seconds{host}": -250e-9,
        f"clock_chrony_bound_seconds{host}": 1.5e-6,
        f"clock_follows_phc{host}": 1.0,
        f"clock_read_success_ratio{host}": 0.995,
        "clock_beyond_limit_ratio{'quantity': 'phc_offset_ns', 'statistic': 'p99', 'stream': 'host-1'}": 0.005,
    }


def test_the_reason_of_a_state_is_a_series_of_its_own() -> None:
    broken = clock(state=StreamState.BROKEN, reason=Reason.BOUND_REFUTED)
    written = lines(write_watch(figures(broken), 0.0))
    assert written["clock_reason{'reason': 'bound_refuted', 'stream': 'host-1'}"] == 1.0
    assert written["streams{'state': 'broken'}"] == 1.0


def test_no_label_explodes_series_and_clocks_that_are_too_many_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    many = figures(*(clock(f"host-{number}") for number in range(4)))
    names = {name for family in write_watch(many, 0.0) for sample in family.samples for name in sample.labels}
    assert names == {"stream", "state", "source", "quantile"}
    monkeypatch.setattr(metrics, "MOST_CLOCKS", 3)
    written = lines(write_watch(many, 0.0))
    assert [name for name in written if name.startswith("clock_")] == []
    assert (written["clocks_left_out"], written["streams{'state': 'ok'}"]) == (4.0, 4.0)


def test_where_nothing_is_watched_there_are_no_metrics() -> None:
    assert [*write_watch(figures(workers={}), 0.0)] == []


@given(latest=st.dictionaries(KEYS, JSON))
def test_whatever_figures_hold_is_written_or_left_out(latest: dict[str, Any]) -> None:
    lines(write_watch(figures(clock(figures=latest)), 0.0))


@given(age_s=st.floats(-1e6, 1e6), interval_s=st.floats(0.01, 100))
def test_a_word_is_fresh_for_five_intervals_and_at_least_for_fifteen_seconds(age_s: float, interval_s: float) -> None:
    longest_s = max(15.0, 5 * interval_s) + 5
    assert is_fresh(age_s, interval_s) == (abs(age_s) <= longest_s)


def test_a_worker_tells_its_spool_its_lag_and_its_circuit() -> None:
    snapshot = {
        "worker": "w1", "local_mode": True, "away_s": None, "circuit": "open", "failures": {"DISCONNECTED": 3},
        "load": 0.25, "lag_s": 0.01, "spooled_chunks": 7, "ticks": 100, "streams": {"a": {}, "b": {}},
    }  # fmt: skip
    assert lines(write_worker(snapshot)) == {
        "worker_local_mode": 1.0,
        "worker_load": 0.25,
        "worker_lag_seconds": 0.01,
        "worker_spooled_chunks": 7.0,
        "worker_ticks_total": 100.0,
        "worker_streams": 2.0,
        "worker_ledger_failures_total{'cause': 'DISCONNECTED'}": 3.0,
        "worker_circuit{'state': 'closed'}": 0.0,
        "worker_circuit{'state': 'open'}": 1.0,
        "worker_circuit{'state': 'half-open'}": 0.0,
    }
    assert lines(write_worker({})) == {}


# --- from a ledger ----------------------------------------------------------------------------------------------------


def tell_state(
    ledger: Ledger, stream: str, *, ago_s: float, tick_ago_s: float | None = None, state: str = "ok",
    reason: str | None = None,
) -> None:  # fmt: skip
    tick_at_s = time.time() - (ago_s if tick_ago_s is None else tick_ago_s)
    tick = round(tick_at_s / (60 if stream == "slow" else 1))
    values = {
        "stream": stream, "epoch": 1, "tick": tick, "state": state, "reason": reason, "sentence": "", "since_tick": 1,
        "latest": {"offset_ns": 100}, "judging": {}, "host": {},
    }  # fmt: skip
    insert = WATCH_STATES.insert().values(**values, sampled_ns=now_ns() - round(ago_s * 1e9))
    ledger.database.write(lambda db: db.execute(insert))


@pytest.fixture
def watched(ledger: Ledger) -> Ledger:
    """A ledger with workers, streams and states of all kinds."""
    streams = WatchStreams(ledger.database)
    names = ("good", "old", "of the future", "of old ticks", "slow", "new", "strange")
    streams.add(
        [NewStream(stream=name, source={}, limits={}, interval_s=60.0 if name == "slow" else 1.0) for name in names],
        by="ada",
    )
    for worker in ("w1", "w2", "w3"):
        number = streams.register(worker, capacity=10.0, score=1.0, process=worker, version="1")
        streams.beat(worker, number, load=0.1 if worker == "w1" else 0.7, score=1.0)
        if worker == "w3":
            streams.drain(worker, number)
    dead = WATCH_WORKERS.update().where(WATCH_WORKERS.c.worker == "w2").values(until_ns=now_ns() - 1)
    ledger.database.write(lambda db: db.execute(dead))
    epoch = streams.lead("leader")
    assert epoch is not None
    streams.write_plan(epoch, {"good": "w1", "old": "w1"})
    streams.claim("w1", 1, ["good", "old"])
    tell_state(ledger, "good", ago_s=2)
    tell_state(ledger, "old", ago_s=60)
    tell_state(ledger, "of the future", ago_s=-3600)
    tell_state(ledger, "of old ticks", ago_s=1, tick_ago_s=90)
    tell_state(ledger, "slow", ago_s=250, state="degraded", reason="not_synchronised")
    tell_state(ledger, "strange", ago_s=1, state="excellent", reason="none at all")
    return ledger


def test_a_dead_worker_never_reads_as_a_good_clock(watched: Ledger) -> None:
    clocks = {clock.stream: clock for clock in read_watch_figures(watched.database).clocks}
    assert {name: (str(clock.state), clock.reason) for name, clock in clocks.items()} == {
        "good": ("ok", None),
        "old": ("unknown", None),
        "of the future": ("unknown", None),
        "of old ticks": ("unknown", None),
        "slow": ("degraded", Reason.NOT_SYNCHRONISED),
        "new": ("unknown", None),
        "strange": ("unknown", None),
    }
    assert {name for name, clock in clocks.items() if clock.figures} == {"good", "slow"}
    assert clocks["new"].age_s is None


def test_the_watch_tells_of_workers_streams_work_and_senders(watched: Ledger) -> None:
    database = watched.database
    WatchSamples(database).store([make_chunk("good", range(60))], worker="w1", replayed=False)
    WatchSamples(database).store([make_chunk("good", range(100, 130))], worker="w1", replayed=True)
    log = [{"epoch": 1, "kind": kind, "sentence": "x"} for kind in ("move", "move", "name taken")]
    incident = {"kind": "kernel", "cause": "c", "streams": [], "sentence": "s", "recommendation": "r"}
    with database.connect() as db:
        db.execute(WATCH_LOG.insert().values(logged_ns=now_ns()), log)
        untold = {"webhook x": {"began": {"told_ns": None, "tries": 1, "next_ns": 0, "problem": "no"}}}
        db.execute(WATCH_INCIDENTS.insert().values(incident="i", **incident, began_ns=now_ns(), told=untold))
    cursors = WatchCursors(database)
    cursor = cursors.open("store", "http://store", Lane.LIVE)
    cursors.advance(cursor, cursors.list_waiting(cursor, most=9), samples=420, refused=7)
    cursors.tell_problem(cursors.open("store", "http://store", Lane.REPLAYED), "answers 503")
    written = lines(write_watch(read_watch_figures(database), 0.0))
    ages = {name: written.pop(name) for name in [*written] if re.search(r"age_seconds|clock_", name)}
    live, replayed = (f"{{'lane': '{lane}', 'target': 'http://store'}}" for lane in ("live", "replayed"))
    assert written == {
        "streams{'state': 'ok'}": 1.0,
        "streams{'state': 'degraded'}": 1.0,
        "streams{'state': 'broken'}": 0.0,
        "streams{'state': 'unknown'}": 5.0,
        "clocks_left_out": 0.0,
        "workers{'state': 'alive'}": 1.0,
        "workers{'state': 'draining'}": 1.0,
        "workers{'state': 'silent'}": 1.0,
        "led": 1.0,
        "capacity": 10.0,
        "weight": 7.0,
        "worker_load_max": 0.7,
        "streams_unassigned": 5.0,
        "streams_unowned": 5.0,
        "stored_ticks{'source': 'live'}": 60.0,
        "stored_ticks{'source': 'spool'}": 30.0,
        "log_entries{'kind': 'move'}": 2.0,
        "log_entries{'kind': 'name_taken'}": 1.0,
        "incidents{'kind': 'kernel'}": 1.0,
        "incidents_untold": 1.0,
        f"sent_samples_total{live}": 420.0,
        f"sent_samples_total{replayed}": 0.0,
        f"refused_samples_total{live}": 7.0,
        f"refused_samples_total{replayed}": 0.0,
        f"sending_fails{live}": 0.0,
        f"sending_fails{replayed}": 1.0,
    }
    assert ages["oldest_chunk_age_seconds"] < 60
    assert ages[f"unsent_age_seconds{replayed}"] < 60
    assert f"unsent_age_seconds{live}" not in ages


def test_a_thousand_streams_are_read_at_once(ledger: Ledger) -> None:
    names = [f"host-{number:04}" for number in range(1000)]
    WatchStreams(ledger.database).add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")
    assert len(read_watch_figures(ledger.database).clocks) == 1000
