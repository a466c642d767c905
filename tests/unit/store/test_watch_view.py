"""What is read of a watch at one moment, and changes that hold only while what they mend is still so."""

import time
from typing import Any

import pytest
import sqlalchemy as sql

from harness.errors import ConflictError
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_CHUNKS, WATCH_STATES
from harness.store.watch_mending import WatchMending
from harness.store.watch_streams import NewStream, WatchStreams
from harness.store.watch_view import WatchViews

LEASE_S = 1.5


class Watch:
    """A ledger's watch with short leases, and what a test writes into it."""

    def __init__(self, ledger: Ledger) -> None:
        self.database = ledger.database
        self.streams = WatchStreams(ledger.database, lease_s=LEASE_S)
        self.views = WatchViews(ledger.database, lease_s=LEASE_S)
        self.mending = WatchMending(ledger.database, lease_s=LEASE_S)
        self.registrations: dict[str, int] = {}

    def hold(self, worker: str, *names: str) -> dict[str, int]:
        """Have a worker own streams; return their epochs."""
        if worker not in self.registrations:
            self.registrations[worker] = self.streams.register(
                worker, capacity=9.0, score=1.0, process=f"{worker}/1", version="1"
            )
        self.streams.add([NewStream(stream=name, source={}, limits={}) for name in names], by="ada")
        epoch = self.streams.lead("leader")
        assert epoch is not None
        assert self.streams.write_plan(epoch, dict.fromkeys(names, worker))
        return self.streams.claim(worker, self.registrations[worker], names, ready=names)

    def store_chunk(self, stream: str, worker: str, epoch: int, ticks: tuple[int, int], **more: Any) -> None:
        row = {"stream": stream, "epoch": epoch, "first_tick": ticks[0], "last_tick": ticks[1], "worker": worker}
        row |= {"replayed": False, "stored_ns": self.views.read_now(), "readings": b"", "interval_ns": 10**9, **more}
        self.database.write(lambda db: db.execute(WATCH_CHUNKS.insert(), row) and None)

    def store_state(self, stream: str, state: str, tick: int) -> None:
        row = {"stream": stream, "epoch": 1, "tick": tick, "sampled_ns": self.views.read_now(), "state": state}
        row |= {"sentence": "", "since_tick": 0, "latest": {}, "judging": {}, "host": {}}
        self.database.write(lambda db: db.execute(WATCH_STATES.insert(), row) and None)


@pytest.fixture
def watch(ledger: Ledger) -> Watch:
    return Watch(ledger)


def test_a_view_has_leader_workers_and_streams_with_their_latest_word(watch: Watch) -> None:
    assert watch.views.read().leader is None
    watch.hold("w", "a", "b")
    watch.store_state("a", "ok", 41)
    view = watch.views.read()
    assert view.leader is not None
    assert (view.leader.process, view.leader.epoch, view.leader.leads) == ("leader", 1, True)
    assert [worker.worker for worker in view.workers] == ["w"]
    assert [(line.stream, line.wanted, line.owner, line.epoch, line.state, line.tick) for line in view.streams] == [
        ("a", "w", "w", 1, "ok", 41),
        ("b", "w", "w", 1, None, None),
    ]
    assert all(abs((line.wanted_ns or 0) - view.at_ns) < 60e9 for line in view.streams)
    assert (view.strange, view.names_taken) == ([], [])


def test_streams_come_in_pages_and_by_worker_and_state(watch: Watch) -> None:
    watch.hold("v", "a", "c")
    watch.hold("w", "b")
    watch.store_state("c", "broken", 1)
    assert [line.stream for line in watch.views.list_streams(after="a", most=1)] == ["b"]
    assert [line.stream for line in watch.views.list_streams(worker="v")] == ["a", "c"]
    assert [line.stream for line in watch.views.list_streams(state="broken")] == ["c"]
    found = watch.views.find_stream("b")
    assert found is not None
    assert found.owner == "w"
    assert watch.views.find_stream("nonsense") is None


def test_samples_that_are_not_the_owner_s_are_found(watch: Watch) -> None:
    watch.hold("v", "a", "b", "c")
    watch.hold("w", "a", "b", "c")  # epoch 2
    watch.store_chunk("a", "v", 1, (100, 160))
    watch.store_chunk("a", "w", 2, (130, 190))
    watch.store_chunk("b", "x", 2, (130, 190))  # an epoch of w
    watch.store_chunk("c", "v", 1, (100, 160), replayed=True)
    watch.store_chunk("c", "v", 1, (1, 60), stored_ns=1)
    found = [(each.stream, each.worker, each.epoch, each.last_tick) for each in watch.views.read().strange]
    assert found == [("a", "v", 1, 160), ("b", "x", 2, 190)]
    first = watch.views.read().strange[0]
    assert (first.owner, first.owner_epoch, first.owner_from_tick) == ("w", 2, 130)


def test_replays_of_the_latest_hour_are_counted_by_worker(watch: Watch) -> None:
    watch.store_chunk("a", "v", 1, (1, 60), replayed=True)
    watch.store_chunk("a", "v", 1, (61, 120), replayed=True)
    watch.store_chunk("b", "w", 1, (1, 60), replayed=True, stored_ns=1)
    watch.store_chunk("b", "w", 1, (61, 120))
    assert [(line.worker, line.chunks) for line in watch.views.list_replays()] == [("v", 2)]


def test_a_name_that_a_second_process_wanted_is_told(watch: Watch) -> None:
    watch.hold("w", "a")
    with pytest.raises(ConflictError, match="there is a worker w already"):
        watch.streams.register("w", capacity=1.0, score=1.0, process="elsewhere/2", version="1")
    assert watch.views.read().names_taken == ["w"]


def test_a_stream_is_freed_only_when_its_lease_is_over(watch: Watch) -> None:
    epochs = watch.hold("w", "a")
    assert watch.mending.free(epochs) == []
    time.sleep(LEASE_S + 0.1)
    assert watch.mending.free({"a": 7}) == []
    assert watch.mending.free(epochs) == ["a"]
    (line,) = watch.streams.list_streams()
    assert (line.owner, line.epoch) == (None, 1)


def test_a_worker_is_forgotten_only_when_it_is_dead(watch: Watch) -> None:
    watch.hold("w", "a")
    assert watch.mending.forget(watch.registrations) == []
    time.sleep(LEASE_S + 0.1)
    assert watch.mending.forget({"w": 9}) == []
    assert watch.mending.forget(watch.registrations) == ["w"]
    assert watch.streams.list_workers() == []
    assert watch.streams.beat("w", watch.registrations["w"], load=0, score=1) is None, "it is to register anew"


def test_a_worker_that_is_to_register_anew_learns_it_by_its_heartbeat(watch: Watch) -> None:
    watch.hold("w", "a")
    assert watch.mending.demand_registration({"w": 5}) == []
    assert watch.mending.demand_registration(watch.registrations) == ["w"]
    assert watch.streams.beat("w", watch.registrations["w"], load=0, score=1) is None
    again = watch.streams.register("w", capacity=9.0, score=1.0, process="w/1", version="1")
    assert again > watch.registrations["w"]
    beat = watch.streams.beat("w", again, load=0, score=1)
    assert beat is not None
    assert beat.held == {"a": 2}, "it goes on with what it has, in another epoch"
    time.sleep(LEASE_S + 0.1)
    later = watch.streams.register("w", capacity=9.0, score=1.0, process="w/2", version="1")
    assert watch.streams.claim("w", later, ["a"]) == {"a": 3}, "another process takes it as any other worker does"


def test_sums_change_with_every_change_that_a_plan_depends_on(watch: Watch) -> None:
    sums = [watch.streams.sum_streams()]

    def look() -> None:
        sums.append(watch.streams.sum_streams())
        assert sums[-1] not in sums[:-1], "a change was not seen"

    watch.hold("w", "a", "b")
    look()
    assert watch.streams.sum_streams() == sums[-1]
    watch.streams.remove(["a"])
    look()
    time.sleep(0.002)
    watch.streams.add([NewStream(stream="a", source={}, limits={}, weight=2.0)], by="ada")
    look()
    epoch = watch.streams.lead("leader")
    assert epoch is not None
    watch.streams.write_plan(epoch, {"b": None})
    look()
    heavier = sql.text("UPDATE watch_streams SET weight = 1.5")
    watch.database.write(lambda db: db.execute(heavier) and None)
    look()


def test_who_resigns_lets_another_lead_at_once(watch: Watch) -> None:
    assert watch.streams.lead("one") == 1
    assert watch.streams.lead("two") is None
    watch.streams.resign("two")
    assert watch.streams.lead("two") is None, "only the leader itself resigns"
    watch.streams.resign("one")
    assert watch.streams.lead("two") == 2


def test_a_worker_sees_by_its_mark_that_its_streams_changed(watch: Watch) -> None:
    watch.hold("w", "a")
    beat = watch.streams.beat("w", watch.registrations["w"], load=0, score=1)
    assert beat is not None
    assert watch.streams.read_mark("w") == beat.mark
    time.sleep(0.002)
    watch.hold("w", "b")
    assert watch.streams.read_mark("w") != beat.mark


def test_a_watch_is_used_once_there_is_a_stream_or_a_worker(watch: Watch) -> None:
    assert not watch.streams.is_used()
    watch.streams.add([NewStream(stream="a", source={}, limits={})], by="ada")
    assert watch.streams.is_used()
    watch.streams.remove(["a"])
    assert not watch.streams.is_used()
    watch.hold("w")
    assert watch.streams.is_used()
