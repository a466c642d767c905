"""A real Prometheus reads a real watch: every panel has its series, and a broken clock reaches whoever is on call."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
import yaml

from harness.service.watch_metrics import WatchCollector, serve_metrics
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_INCIDENTS, WATCH_LOG, WATCH_STATES
from harness.store.watch_cursors import Lane, WatchCursors
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from tests.doubles.readings import make_chunk
from tests.servers import prometheus
from tests.servers.receiver import Receiver, serve_receiver
from tests.unit.test_watch_deploy import FOLDER, expressions

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

_WITHIN_S = 90.0
LATEST = {
    "offset_ns": -120, "offset_max_ns": 300, "chrony_bound_ns": 1500, "read_success": 1.0, "opinion_ns": 4000,
    "limits": [{"quantity": "phc_offset_ns", "statistic": "p99", "beyond": 1, "points": 600}],
}  # fmt: skip


def find(name: str) -> Path:
    program = prometheus.find_program(name)
    if program is None:
        pytest.skip(f"needs {name}, which is not installed")
    return program


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


class Watched:
    """A clock of a ledger that a worker samples each second: `state` is what the worker says."""

    def __init__(self, ledger: Ledger, stream: str) -> None:
        self.state, self.reason = "ok", None if stream == "good" else "out_of_limits"
        self._ledger, self._stream, self._ending = ledger, stream, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        values = {
            "stream": stream, "epoch": 1, "tick": round(time.time()), "state": "ok", "sentence": "", "since_tick": 1,
            "latest": LATEST, "judging": {}, "host": {},
        }  # fmt: skip
        insert = WATCH_STATES.insert().values(**values, sampled_ns=now_ns())
        ledger.database.write(lambda db: db.execute(insert))
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(10)

    def _work(self) -> None:
        while not self._ending.wait(0.5):
            reason = None if self.state == "ok" else self.reason
            update = WATCH_STATES.update().where(WATCH_STATES.c.stream == self._stream)
            update = update.values(state=self.state, reason=reason, tick=round(time.time()), sampled_ns=now_ns())
            self._ledger.database.write(lambda db, update=update: db.execute(update))


@contextmanager
def watch(ledger: Ledger, *streams: str) -> Iterator[list[Watched]]:
    """Have clocks watched; their worker and leader live as long."""
    watch_streams = WatchStreams(ledger.database, lease_s=300)
    watch_streams.add([NewStream(stream=name, source={}, limits={}) for name in streams], by="ada")
    watch_streams.register("w1", capacity=100.0, score=1.0, process="here", version="1")
    epoch = watch_streams.lead("here")
    assert epoch is not None
    watch_streams.write_plan(epoch, dict.fromkeys(streams, "w1"))
    watch_streams.claim("w1", 1, streams)
    clocks = [Watched(ledger, name) for name in streams]
    try:
        yield clocks
    finally:
        for clock in clocks:
            clock.stop()


def wait_until(condition: Callable[[], object], told: Callable[[], object] = lambda: "") -> None:
    give_up_at = time.monotonic() + _WITHIN_S
    while not condition():
        assert time.monotonic() < give_up_at, told()
        time.sleep(0.3)


def write_config(folder: Path, *, target: int, alertmanager: str | None = None) -> Path:
    """Write our rules, with shorter times, and a configuration that scrapes the watch each second."""
    rules = yaml.safe_load((FOLDER / "watch.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule |= {key: "1s" if key == "for" else "3s" for key in ("for", "keep_firing_for") if key in rule}
    (folder / "watch.yml").write_text(yaml.safe_dump(rules))
    document: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["watch.yml"],
        "scrape_configs": [{"job_name": "watch", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    if alertmanager is not None:
        document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
    return folder / "prometheus.yml"


def fill(ledger: Ledger) -> None:
    """Fill a ledger with what only some watches have: an incident, a log, and senders."""
    samples, cursors = WatchSamples(ledger.database), WatchCursors(ledger.database)
    for replayed, lane in ((False, Lane.LIVE), (True, Lane.REPLAYED)):
        samples.store([make_chunk("good", range(60), epoch=1 + replayed)], worker="w1", replayed=replayed)
        cursors.tell_problem(cursors.open("store", "http://store", lane), "answers 503")
    incident = {"kind": "kernel", "cause": "c", "streams": [], "sentence": "s", "recommendation": "r", "told": {}}
    with ledger.database.connect() as db:
        db.execute(WATCH_LOG.insert().values(logged_ns=now_ns(), epoch=1, kind="move", sentence="x"))
        db.execute(WATCH_INCIDENTS.insert().values(incident="i", **incident, began_ns=now_ns()))
        assert db.execute(sql.select(sql.func.count()).select_from(WATCH_LOG)).scalar() == 1


def test_every_panel_of_the_dashboard_has_its_series(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = find("prometheus")
    monkeypatch.setattr("harness.service.watch_metrics.FIGURES_FRESH_S", 0.0)
    fill(ledger)
    with watch(ledger, "good", "bad") as (_good, bad), serve_metrics(WatchCollector(ledger.database), port=0) as port:
        bad.state = "degraded"
        config = write_config(tmp_path, target=port)
        with prometheus.serve_config(program, tmp_path, config) as server:
            wanted = [*expressions()]
            wait_until(
                lambda: not [expr for expr in wanted if not server.query(expr)],
                lambda: [expr for expr in wanted if not server.query(expr)],
            )
            (offset,) = server.query('ptp_harness_watch_clock_offset_seconds{stream="good"}')
            assert float(offset["value"][1]) == -120e-9
            rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}, rules


def test_a_broken_clock_reaches_whoever_is_on_call_once_and_so_does_its_end(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the ledger by Prometheus and Alertmanager, with the files of deploy/prometheus, to a webhook on loopback."""
    program, alertmanager = find("prometheus"), find("prometheus-alertmanager")
    monkeypatch.setattr("harness.service.watch_metrics.FIGURES_FRESH_S", 0.0)
    with (
        serve_receiver() as receiver,
        watch(ledger, "good", "bad") as (_good, bad),
        serve_metrics(WatchCollector(ledger.database), port=0) as port,
    ):
        config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
        config["receivers"][0]["webhook_configs"][0]["url"] = receiver.url
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
        with (
            prometheus.serve_alertmanager(alertmanager, tmp_path, tmp_path / "alertmanager.yml") as address,
            prometheus.serve_config(
                program, tmp_path, write_config(tmp_path, target=port, alertmanager=address)
            ) as server,
        ):
            wait_until(lambda: server.query('ptp_harness_watch_clock_state{stream="bad", state="ok"} == 1'))
            bad.state = "broken"
            wait_until(lambda: receiver.posts)
            bad.state = "ok"
            wait_until(lambda: "resolved" in statuses(receiver))
    alerts = [alert for post in receiver.posts for alert in json.loads(post.body)["alerts"]]
    told = [(alert["labels"]["alertname"], alert["labels"]["stream"], alert["status"]) for alert in alerts]
    assert told == [("WatchClockBroken", "bad", "firing"), ("WatchClockBroken", "bad", "resolved")]
    firing = alerts[0]
    assert firing["annotations"]["summary"] == "The clock of bad is broken"
    assert "Reason: out_of_limits." in firing["annotations"]["description"]
    assert "ptp-harness watch show bad" in firing["annotations"]["description"]


def statuses(receiver: Receiver) -> list[str]:
    return [alert["status"] for post in receiver.posts for alert in json.loads(post.body)["alerts"]]
