"""Events over HTTP: a stream ends with its run, goes on behind any number without loss, and ends with the service."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from harness.model import Event, Outcome, RunRecord, Stage
from harness.model.tasks import Scope
from harness.runs.run_events import make_event
from harness.service import event_feed
from harness.store.event_heads import read_heads
from harness.store.ledger import Ledger
from harness.store.tables import OWNERS
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService, running_service
from tests.unit.service.test_runs import add_task_run


@dataclass
class Sent:
    """What a stream sent: the numbers and texts of events, and the data of its last event, if it was `end`."""

    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    end: dict[str, str] | None = None
    comments: list[str] = field(default_factory=list)

    def read(self, answer: httpx2.Response, until: Callable[["Sent"], bool] = lambda _sent: False) -> "Sent":
        """Read the stream to its end, or until something was sent."""
        block: dict[str, str] = {}
        for line in answer.iter_lines():
            if line.startswith(":"):
                self.comments.append(line[1:].strip())
            elif line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif "data" in block:
                self._take(block)
                block = {}
            if until(self):
                break
        return self

    def _take(self, block: dict[str, str]) -> None:
        data = json.loads(block["data"])
        if block.get("event") == "end":
            self.end = data
            return
        assert block["id"] == str(data["number"])
        self.numbers.append(data["number"])
        self.texts.append(data["text"])


@contextmanager
def streaming(service: RunningService, run: str, query: str = "", **headers: str) -> Iterator[httpx2.Response]:
    with (
        service.client(timeout=30.0) as client,
        client.stream("GET", f"/v1/runs/{run}/events{query}", headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer


def say(ledger: Ledger, run: str, text: str) -> None:
    ledger.say(make_event(text, run=run, host="h0", stage=Stage.MEASURE))
    ledger.flush()


def end(ledger: Ledger, run: str) -> None:
    ledger.close_run(
        RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(), leftovers=())
    )


def test_the_events_of_a_run_that_ended_come_at_once_and_the_stream_ends(service: RunningService) -> None:
    run = add_run(service.ledger)
    with streaming(service, run) as answer:
        sent = Sent().read(answer)
    expected = service.ledger.events(run)
    assert sent.numbers == [each.number for each in expected]
    assert sent.texts == [each.event.text for each in expected]
    assert sent.end == {"state": "ended"}


def test_a_run_that_another_process_leads_is_followed_to_its_end(service: RunningService, ledger_url: str) -> None:
    leader = Ledger(ledger_url)
    run = leader.open_run(bench="lab", campaign={}, hosts={"h0": "lab.phc"})

    def lead() -> None:
        for number in range(20):
            say(leader, run, f"text {number}")
            time.sleep(0.02)
        end(leader, run)

    thread = threading.Timer(0.3, lead)
    thread.start()
    with streaming(service, "last") as answer:
        sent = Sent().read(answer)
    thread.join()
    leader.close()
    assert sent.numbers == list(range(1, len(sent.numbers) + 1))
    assert [text for text in sent.texts if text.startswith("text")] == [f"text {number}" for number in range(20)]
    assert (sent.texts[-1], sent.end) == ("ended: no host", {"state": "ended"})


def test_a_stream_that_is_broken_again_and_again_loses_and_repeats_nothing(
    service: RunningService, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it broke, also far behind what is in memory."""
    monkeypatch.setattr(event_feed, "RECENT_EVENTS", 16)
    monkeypatch.setattr(event_feed, "PAGE_EVENTS", 7)
    leader = Ledger(ledger_url)
    run = leader.open_run(bench="lab", campaign={}, hosts={"h0": "lab.phc"})
    done = threading.Event()

    def lead() -> None:
        for number in range(60):
            for part in range(5):
                leader.say(make_event(f"{number} {part}", run=run, host=None, stage=None))
            leader.flush()
            time.sleep(0.01)
        end(leader, run)
        done.set()

    threading.Thread(target=lead, daemon=True).start()
    numbers: list[int] = []
    for least in (1, 3, 40, 2, 100, 1, 5, 10_000):
        headers = {"Last-Event-ID": str(numbers[-1])} if numbers else {}
        with streaming(service, run, **headers) as answer:
            sent = Sent().read(answer, lambda sent, least=least: len(sent.numbers) >= least)  # type: ignore[misc]
        numbers += sent.numbers
        if sent.end:
            break
    assert done.wait(30)
    leader.close()
    assert numbers == list(range(1, 303))
    assert sent.end == {"state": "ended"}


def test_a_stream_begins_behind_a_number(file_service: RunningService) -> None:
    run = add_run(file_service.ledger)
    latest = len(file_service.ledger.events(run))
    for query in (f"?after={latest - 2}", "?after=1&limit=7"):
        with streaming(file_service, run, query) as answer:
            numbers = Sent().read(answer).numbers
        assert numbers == list(range(latest - 1 if "limit" not in query else 2, latest + 1))
    with streaming(file_service, run, f"?after={latest + 100}") as answer:
        assert Sent().read(answer).end == {"state": "ended"}, "an event that is not there yet is not waited for"


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?after=99999999999", "?limit=0", "?form=xml"])
def test_a_place_that_is_none_is_a_problem(file_service: RunningService, query: str) -> None:
    answer = file_service.get(f"/v1/runs/{add_run(file_service.ledger)}/events{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_the_streams_of_a_service_that_is_stopped_end_at_once(ledger_url: str, tmp_path: Path) -> None:
    """A browser then comes again by itself, behind the last event that it got."""
    with running_service(ledger_url, tmp_path / "state") as service:
        run = add_run(service.ledger, ended=False)
        begun = 0.0

        def stop_once(sent: Sent) -> bool:
            nonlocal begun
            if len(sent.numbers) >= 3 and not begun:
                begun = time.monotonic()
                service.begin_to_stop()
            return False

        with streaming(service, run) as answer:
            sent = Sent().read(answer, stop_once)
        assert time.monotonic() - begun < 3
        service.stop()
        assert time.monotonic() - begun < 8
    assert (sent.comments, sent.end) == (["the service is being stopped"], None)


def test_an_idle_stream_says_that_it_is_there(file_service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "HEARTBEAT_S", 0.2)
    run = add_run(file_service.ledger, ended=False)
    with streaming(file_service, run) as answer:
        sent = Sent().read(answer, lambda sent: len(sent.comments) >= 3)
    assert sent.comments == ["still here"] * 3


def test_a_stream_ends_after_a_while_and_is_asked_for_again(
    file_service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a token that was revoked meanwhile is refused."""
    monkeypatch.setattr(event_feed, "LONGEST_S", 1.0)
    monkeypatch.setattr(event_feed, "HEARTBEAT_S", 0.2)
    run = add_run(file_service.ledger, ended=False)
    with streaming(file_service, run) as answer:
        sent = Sent().read(answer)
    assert sent.numbers
    assert sent.end is None


def test_clients_that_went_away_are_forgotten(file_service: RunningService) -> None:
    run = add_run(file_service.ledger, ended=False)
    for _ in range(5):
        with streaming(file_service, run) as answer:
            Sent().read(answer, lambda sent: len(sent.numbers) >= 2)
    feed = find_feed(file_service)
    wait_for(lambda: (feed.followers, feed.runs) == (0, []))


def find_feed(service: RunningService) -> event_feed.EventFeed:
    app = service.server.config.app
    while not hasattr(app, "state"):
        app = app.app  # type: ignore[union-attr]
    feed: event_feed.EventFeed = app.state.event_feed
    return feed


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_too_many_streams_are_refused(file_service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "MOST_FOLLOWERS", 1)
    run = add_run(file_service.ledger, ended=False)
    with streaming(file_service, run) as answer:
        lines = answer.iter_lines()  # as long as they are there, the stream is open
        assert next(lines) == "retry: 1000"
        refused = file_service.get(f"/v1/runs/{run}/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        page = file_service.get(f"/v1/runs/{run}/events", headers={"Accept": "application/json"})
        assert page.status_code == 200


def test_events_are_read_as_pages(service: RunningService) -> None:
    run = add_run(service.ledger)
    expected = [each.number for each in service.ledger.events(run)]
    numbers: list[int] = []
    after: int | None = 0
    with service.client(headers={**service.headers(), "Accept": "application/json"}) as client:
        while after is not None:
            page = client.get(f"/v1/runs/{run}/events?after={after}&limit=3").json()
            numbers += [item["number"] for item in page["items"]]
            assert len(page["items"]) <= 3
            assert page["state"] == "ended"
            after = page["next"]
    assert numbers == expected
    item = service.get(f"/v1/runs/{run}/events?form=json&limit=1").json()["items"][0]
    assert item.pop("at")
    assert item == {"number": 1, "host": None, "stage": None, "text": "begins, hosts: 1"}


def test_a_dead_run_is_waited_for_only_where_a_service_takes_it_up(service: RunningService, ledger_url: str) -> None:
    """Two minutes long: then nobody did."""
    leader = Ledger(ledger_url)
    _, run_of_task = add_task_run(leader)
    run = add_run(leader, ended=False)
    leader.close()
    dead = OWNERS.update().where(OWNERS.c.owner == leader.owner).values(pid_start_ticks=1)
    service.ledger.database.write(lambda db: db.execute(dead))
    with streaming(service, run) as answer:
        assert Sent().read(answer).end == {"state": "died"}
    heads = read_heads(service.ledger.database, [run, run_of_task, "nope"])
    assert (heads[run].goes_on, heads[run_of_task].goes_on, len(heads)) == (False, True, 2)
    long_ago = OWNERS.update().where(OWNERS.c.owner == leader.owner).values(beat_ns=1)
    service.ledger.database.write(lambda db: db.execute(long_ago))
    with streaming(service, run_of_task) as answer:
        assert Sent().read(answer).end == {"state": "died"}


def test_the_log_is_the_latest_events_as_text(service: RunningService) -> None:
    run = add_run(service.ledger, {"a": MadeUpHost(), "b": MadeUpHost(outcome=Outcome.FAIL)})
    answer = service.get(f"/v1/runs/{run}/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    lines = answer.text.splitlines()
    assert lines[0].split()[2:] == ["begins,", "hosts:", "2"]
    assert lines[-1].endswith("ended: 1 PASS, 1 FAIL")
    assert len(lines) == len(service.ledger.events(run))
    assert service.get(f"/v1/runs/{run}/log?tail=2").text.splitlines() == lines[-2:]
    of_a = service.get(f"/v1/runs/{run}/log?host=a&tail=3").text.splitlines()
    assert of_a == [line for line in lines if " a  " in line][-3:]
    assert service.get(f"/v1/runs/{run}/log?host=zzz").text == ""


def test_what_a_host_says_cannot_end_an_event(file_service: RunningService) -> None:
    run = add_run(file_service.ledger, ended=False)
    said = Event(
        run=run,
        host="h0",
        stage=Stage.REACH,
        text="a\n\nevent: end\ndata: {}\r\u2028",
        at=make_event("", run=run, host=None, stage=None).at,
    )
    file_service.ledger.say(said)
    file_service.ledger.flush()
    end(file_service.ledger, run)
    with streaming(file_service, run) as answer:
        sent = Sent().read(answer)
    assert said.text in sent.texts
    assert sent.end == {"state": "ended"}


def test_one_poller_asks_for_all_clients_of_all_runs(
    file_service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def count(database: object, runs: list[str]) -> object:
        asked.append(len(runs))
        return read_heads(database, runs)  # type: ignore[arg-type]

    monkeypatch.setattr(event_feed, "read_heads", count)
    runs = [add_run(file_service.ledger, ended=False) for _ in range(3)]

    async def follow() -> list[int]:
        async with httpx2.AsyncClient(base_url=file_service.url, headers=file_service.headers(Scope.READ)) as client:
            return await asyncio.gather(*(follow_one(client, run) for run in runs for _ in range(20)))

    async def follow_one(client: httpx2.AsyncClient, run: str) -> int:
        async with client.stream("GET", f"/v1/runs/{run}/events", timeout=60) as answer:
            return len([line async for line in answer.aiter_lines() if line.startswith("id: ")])

    timers = [threading.Timer(1.5, end, (file_service.ledger, run)) for run in runs]
    for timer in timers:
        timer.start()
    counts = asyncio.run(follow())
    assert {*counts} == {len(file_service.ledger.events(runs[0])) + 1}, "the events, and the end"
    assert max(asked) == 3
    assert len(asked) < 400


def test_more_events_than_are_in_memory_come_before_the_end(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that said much in a moment, and ended in the same."""
    monkeypatch.setattr(event_feed, "RECENT_EVENTS", 16)
    monkeypatch.setattr(event_feed, "POLL_S", 0.5)
    run = add_run(service.ledger, ended=False)

    def say_much() -> None:
        for number in range(200):
            service.ledger.say(make_event(f"{number}", run=run, host=None, stage=None))
        end(service.ledger, run)

    threading.Timer(0.7, say_much).start()
    with streaming(service, run) as answer:
        sent = Sent().read(answer)
    assert sent.numbers == list(range(1, len(service.ledger.events(run)) + 1))
    assert sent.end == {"state": "ended"}


def test_events_that_were_pruned_are_not_waited_for(service: RunningService) -> None:
    run = add_run(service.ledger)
    service.ledger.prune_events(older_than_s=-60)
    with streaming(service, run) as answer:
        sent = Sent().read(answer)
    assert (sent.numbers, sent.end) == ([], {"state": "ended"})
    assert service.get(f"/v1/runs/{run}/log").text == ""
