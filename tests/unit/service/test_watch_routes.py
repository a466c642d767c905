"""The watch over HTTP: its status, streams and their readings, incidents, inconsistencies and the log."""

from dataclasses import dataclass
from typing import Any

import pytest

from harness.model.tasks import Scope
from harness.model.watched import TickReading
from harness.store.database import now_ns
from harness.store.tables import WATCH_INCIDENTS, WATCH_STATES, WATCH_STREAMS
from harness.store.watch_log import LogEntry, LogKind, WatchLog
from harness.store.watch_samples import Chunk, WatchSamples
from harness.store.watch_streams import NewStream, WatchStreams
from harness.watch.holdings import Holdings
from harness.watch.leader import Leader
from tests.servers.service import RunningService


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A service with four streams, of which a worker has three, and one is left out."""

    service: RunningService
    streams: WatchStreams
    worker: Holdings

    def get(self, path: str, **query: Any) -> Any:
        answer = self.service.get(f"/v1/watch/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def write(self, statement: Any, **row: Any) -> None:
        self.service.ledger.database.write(lambda db: db.execute(statement, row or None) and None)

    def set_state(self, stream: str, state: str, ago_s: float = 0.0, tick: int | None = None) -> None:
        """Set the word about a stream, which came then, and speaks of the tick of then unless told otherwise."""
        spoken_of = self.service.ledger.now_ns() // 10**9 - round(ago_s) if tick is None else tick
        row = {
            "stream": stream,
            "epoch": 1,
            "tick": spoken_of,
            "state": state,
            "reason": None,
            "sentence": "",
            "since_tick": 0,
        }
        row |= {"latest": {}, "judging": {}, "host": {}}
        self.write(WATCH_STATES.insert().values(sampled_ns=now_ns() - round(ago_s * 1e9)), **row)


@pytest.fixture
def watched(service: RunningService) -> Watched:
    streams = WatchStreams(service.ledger.database)
    streams.add([NewStream(stream=name, source={}, limits={}) for name in ("a/1", "b", "c", "d")], by="ada")
    worker = Holdings(streams=streams, worker="w", process="rack7/1", version="1", capacity=3.0)
    worker.step(load=0.25)
    leader = Leader(streams, "hub/1")
    assert leader.step() is not None
    worker.step(load=0.25)
    assert len(worker.current()) == 3
    return Watched(service=service, streams=streams, worker=worker)


def test_the_status_says_who_leads_and_what_each_worker_carries(watched: Watched) -> None:
    watched.set_state("a/1", "ok")
    watched.set_state("b", "broken")
    watched.set_state("c", "ok", ago_s=60)
    status = watched.get("status")
    (left_out,) = status["left_out"]
    assert (status["leader"], status["epoch"], status["streams"], status["between"]) == ("hub/1", 1, 4, 0)
    assert status["states"] == {"ok": 1, "degraded": 0, "broken": 1, "unknown": 2}, "an old word is none"
    (worker,) = status["workers"]
    assert {name: worker[name] for name in ("worker", "process", "state", "streams", "weight", "capacity", "load")} == {
        "worker": "w",
        "process": "rack7/1",
        "state": "serving",
        "streams": 3,
        "weight": 3.0,
        "capacity": 3.0,
        "load": 0.25,
    }
    assert 0 <= worker["heard_s"] < 60
    assert watched.get("workers")["items"] == [worker | {"heard_s": pytest.approx(worker["heard_s"], abs=60)}]
    assert left_out in ("a/1", "b", "c", "d")


def test_streams_are_listed_in_pages_and_by_worker_and_state(watched: Watched) -> None:
    first = watched.get("streams", limit=2)
    assert [item["stream"] for item in first["items"]] == ["a/1", "b"]
    second = watched.get("streams", limit=2, cursor=first["next"])
    assert [item["stream"] for item in second["items"]] == ["c", "d"]
    assert second["next"] is None
    assert len(watched.get("streams", worker="w")["items"]) == 3
    watched.set_state("b", "ok", ago_s=100)
    watched.set_state("c", "ok")
    assert [item["stream"] for item in watched.get("streams", state="ok")["items"]] == ["c"]
    unknown = watched.get("streams", state="unknown", limit=2)
    assert [item["stream"] for item in unknown["items"]] == ["a/1", "b"]
    assert [item["stream"] for item in watched.get("streams", state="unknown", cursor=unknown["next"])["items"]] == [
        "d"
    ]


def test_a_stream_is_shown_with_its_owner_and_its_state_is_unknown_when_its_word_is_old(watched: Watched) -> None:
    watched.set_state("a/1", "broken", ago_s=100)
    stream = watched.get("streams/a/1")
    assert (stream["stream"], stream["state"]) == ("a/1", "unknown")
    assert stream["silent_s"] == pytest.approx(100, abs=50)
    assert watched.service.get("/v1/watch/streams/nonsense").status_code == 404


def test_a_word_that_came_now_and_speaks_of_ticks_long_ago_is_old(watched: Watched) -> None:
    watched.set_state("a/1", "ok", tick=5)
    assert watched.get("streams/a/1")["state"] == "unknown"


def test_the_readings_of_an_interval_are_one_a_tick(watched: Watched) -> None:
    second = watched.service.ledger.now_ns() // 10**9
    values = dict.fromkeys(TickReading.__dataclass_fields__) | {"offset_ns": 12}
    readings = [TickReading(**values | {"tick": tick}) for tick in range(second - 60, second)]  # type: ignore[arg-type]
    chunk = Chunk(
        stream="a/1", epoch=1, interval_ns=10**9, first_tick=second - 60, last_tick=second - 1, readings=readings
    )
    WatchSamples(watched.service.ledger.database).store([chunk], worker="w", replayed=False)
    found = watched.get("readings/a/1")
    assert [reading["tick"] for reading in found] == [reading.tick for reading in readings]
    assert (found[0]["offset_ns"], found[0]["chrony_bound_ns"]) == (12, None)
    assert watched.get("readings/a/1", begin="2020-01-01T00:00:00Z", end="2020-01-01T01:00:00Z") == []
    for query, sentence in (
        ({"begin": "2020-01-01"}, "an answer has at most 20000"),
        ({"begin": "nonsense"}, "begin"),
    ):
        answer = watched.service.get("/v1/watch/readings/a/1", params=query)
        assert answer.status_code == 400, answer.text
        assert sentence in answer.json()["detail"]
    assert watched.service.get("/v1/watch/readings/nonsense").status_code == 404


def test_incidents_come_newest_first_and_those_that_go_on_alone(watched: Watched) -> None:
    for number in range(3):
        row = {"incident": f"i{number}", "kind": "phc_lost", "cause": f"kernel {number}", "streams": ["b"]}
        row |= {"sentence": "s", "recommendation": "r", "began_ns": 10**18 + number, "told": {}}
        watched.write(WATCH_INCIDENTS.insert(), **row, ended_ns=None if number == 1 else 10**18 + 60 * 10**9)
    first = watched.get("incidents", limit=2)
    assert [item["incident"] for item in first["items"]] == ["i2", "i1"]
    assert [item["incident"] for item in watched.get("incidents", cursor=first["next"])["items"]] == ["i0"]
    assert [item["cause"] for item in watched.get("incidents", goes_on=True)["items"]] == ["kernel 1"]


def test_inconsistencies_come_with_what_to_do_and_are_mended_by_an_operator(watched: Watched) -> None:
    found = watched.get("inconsistencies")
    assert "other version" in {each["kind"] for each in found}, found
    a_minute_ago = now_ns() - round(60e9)
    watched.worker.leave()
    late = WATCH_STREAMS.update().where(WATCH_STREAMS.c.stream == "b")
    watched.write(late.values(owner="gone", until_ns=a_minute_ago, wanted=None))
    stale = [each for each in watched.get("inconsistencies") if each["kind"] == "stale lease"]
    assert [(each["streams"], each["mend"]) for each in stale] == [(["b"], "free the stream")]
    assert watched.service.post("/v1/watch/mend", Scope.READ).status_code == 403
    answer = watched.service.post("/v1/watch/mend", Scope.OPERATE)
    assert answer.json() == {"done": ["stream b is freed: its lease was over"]}
    assert not [each for each in watched.get("inconsistencies") if each["kind"] == "stale lease"]
    told = watched.get("log", kind="mend")["items"]
    assert [(entry["sentence"], entry["stream"]) for entry in told] == [("stream b is freed: its lease was over", "b")]


def test_the_log_comes_in_pages(watched: Watched) -> None:
    log = WatchLog(watched.service.ledger.database)
    log.add([LogEntry(kind=LogKind.MOVE, sentence=f"entry {number}", worker="w") for number in range(3)], epoch=2)
    first = watched.get("log", limit=2, worker="w")
    assert [(entry["sentence"], entry["epoch"]) for entry in first["items"]] == [("entry 2", 2), ("entry 1", 2)]
    rest = watched.get("log", cursor=first["next"])
    assert [entry["sentence"] for entry in rest["items"]] == ["entry 0"]


@pytest.mark.parametrize("path", ["status", "workers", "streams", "incidents", "inconsistencies", "log"])
def test_whoever_sends_no_token_learns_nothing(watched: Watched, path: str) -> None:
    assert watched.service.get(f"/v1/watch/{path}", None).status_code == 401
