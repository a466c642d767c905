"""The pages of the watch: all clocks at a glance, a clock's day, incidents; all of it readable without scripts."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from harness import units
from harness.model.enums import Reason
from harness.model.incidents import Incident
from harness.model.watched import StateChange, StreamState
from harness.store.owners import read_now
from harness.store.tables import WATCH_STATES
from harness.store.watch_findings import FindingKind, WorkerFinding, WorkerFindings
from harness.store.watch_incidents import WatchIncidents
from harness.store.watch_log import LogEntry, LogKind, WatchLog
from harness.store.watch_states import WatchStates
from harness.watch.stream_view import find_stream, find_watched_from_s
from tests.doubles.watched_clock import lose_phc
from tests.doubles.watched_ledger import WORKER, WatchedLedger
from tests.servers.service import RunningService, running_service

HTML = {"Accept": "text/html"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \x1b[31m \u202eevil {{ 7 * 7 }}"
LONG_NAME = "3a5r/m7i.large"


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose ledger has three clocks: a good one, a broken one, and one that nobody has sampled."""
    folder = tmp_path_factory.mktemp("watch")
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    with running_service(url, Path(folder) / "state", is_open=True) as running:
        watched = WatchedLedger(database=running.ledger.database)
        watched.add("web-1", LONG_NAME, "web-3")
        watched.sample("web-1", 900)
        watched.sample(LONG_NAME, 900, fault=lose_phc, for_s=200)
        now_ns = running.ledger.database.read(read_now)
        incident = Incident(
            incident="4f00aa00bb00",
            kind="phc_unreadable",
            cause="kernel 6.12.1",
            streams=(LONG_NAME, "web-1"),
            sentence=f"2 streams: {HOSTILE}",
            recommendation="look",
            began_ns=now_ns - 300 * 10**9,
        )
        ended = Incident(
            incident="5f00",
            kind="unreachable",
            cause="stream web-3",
            streams=("web-3",),
            sentence="web-3: unreachable",
            recommendation="see",
            began_ns=now_ns - 9000 * 10**9,
            ended_ns=now_ns - 6000 * 10**9,
        )
        WatchIncidents(running.ledger.database).write([incident, ended])
        finding = WorkerFinding(
            kind=FindingKind.HOST_KEY, sentence=f"another key: {HOSTILE}", recommendation="find out why"
        )
        moved = LogEntry(
            kind=LogKind.MOVE, stream="web-1", worker=WORKER, sentence=f"stream web-1 is to go to w1, since {HOSTILE}"
        )
        led = LogEntry(kind=LogKind.LEADER, sentence="hub leads, epoch 1")
        WatchLog(running.ledger.database).add([moved, led], epoch=1)
        WorkerFindings(running.ledger.database).tell(WORKER, watched.registration, [finding], [])
        yield running


@pytest.fixture
def client(watching: RunningService) -> Iterator[httpx2.Client]:
    with watching.client(None, headers=HTML) as client:
        yield client


def text_of(page: httpx2.Response) -> str:
    """What a reader sees of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_all_clocks_are_seen_at_a_glance_and_the_bad_ones_as_rows(client: httpx2.Client) -> None:
    page = client.get("/watch")
    assert page.status_code == 200
    text = text_of(page)
    assert "3 clocks" in text
    assert "1 broken" in text
    assert "1 unknown" in text
    assert page.text.count('class="pass ok"') == 1
    assert f'href="/watch/streams/{LONG_NAME}"' in page.text
    assert "phc_unreadable: no reading of the PHC succeeded for 8 ticks next: stop other readers" in text
    assert "no worker has told its state" in text
    assert f"{WORKER} test host key: another key: <script>" in text
    assert "next: find out why lives 3 3" in text


def test_filters_choose_the_rows(client: httpx2.Client) -> None:
    rows = client.get("/watch?state=ok").text.partition('id="rows"')[2]
    assert "web-1" in rows
    assert "web-3" not in rows.partition('id="workers"')[0]
    assert "There is none." in text_of(client.get("/watch?name=nowhere"))
    assert client.get("/watch?name=&state=&worker=").status_code == 200
    assert client.get(f"/watch?state={quote(HOSTILE)}&name={quote(HOSTILE)}").status_code in (200, 422)


def test_broken_clock_shows_its_day_its_reason_and_what_to_do(client: httpx2.Client) -> None:
    page = client.get(f"/watch/streams/{LONG_NAME}")
    assert page.status_code == 200
    text = text_of(page)
    assert f"{LONG_NAME} BROKEN" in text
    assert "Next: stop other readers of the clock" in text
    assert "sampled by w1 , epoch 1" in text
    assert "This day: within its bound" in text
    assert '<span class="fail" title="broken">###' in page.text
    assert "<noscript><svg" in page.text
    assert "convergence is not judged" in text


def test_clock_without_a_sample_and_a_day_before_have_pages(client: httpx2.Client) -> None:
    assert "UNKNOWN" in text_of(client.get("/watch/streams/web-3"))
    page = client.get("/watch/streams/web-1?day=2026-01-05")
    assert page.status_code == 200
    assert "<noscript>" not in page.text
    assert 'href="/watch/streams/web-1?day=2026-01-04"' in page.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/watch/streams/nowhere", 404, "there is no stream"),
        ("/watch/streams/web-1?day=yesterday", 400, "is no day"),
        ("/watch/streams/web-1?day=2999-01-01", 400, "has not begun"),
        ("/watch/series.json?stream=nowhere&day=2026-01-05", 404, "there is no stream"),
    ],
)
def test_what_is_wrong_is_told_with_a_next_step(client: httpx2.Client, path: str, status: int, words: str) -> None:
    told = client.get(path)
    assert told.status_code == status
    assert words in told.text


def test_series_of_a_day_hold_each_spike_and_a_part_of_it_is_finer(
    client: httpx2.Client, watching: RunningService
) -> None:
    now_s = watching.ledger.database.read(read_now) // 10**9
    day = units.utc_moment(now_s * 10**9).date().isoformat()
    path = f"/watch/series.json?stream=web-1&day={day}"
    told = client.get(path).json()
    (host,) = told["hosts"]
    assert host["bound_has_device"]
    begin_s = host["begin_s"]
    greatest = max(value for value in host["offset"][1] if value is not None)
    assert len(host["offset"][0]) == told["columns"] <= 800
    from_s = max(0, now_s - 300 - begin_s)
    part = client.get(f"{path}&from_s={from_s}&to_s={from_s + 200}").json()
    assert part["column_s"] == 1.0
    assert part["columns"] == 200
    assert max(value for value in part["hosts"][0]["offset"][1] if value is not None) <= greatest
    assert client.get(f"{path}&from_s=nan").status_code == 422


def test_plot_of_a_day_begins_with_the_stream_where_that_was_added_in_it(
    client: httpx2.Client, watching: RunningService
) -> None:
    database = watching.ledger.database
    now_s = database.read(read_now) // 10**9
    day_s = now_s // 86400 * 86400
    day = units.utc_moment(now_s * 10**9).date().isoformat()
    told = client.get(f"/watch/series.json?stream=web-1&day={day}").json()
    (host,) = told["hosts"]
    begin_s = host["begin_s"]
    assert (told["first_s"], begin_s % 60, day_s <= begin_s <= now_s) == (0, 0, True)
    assert told["length_s"] <= 1200, "it has samples of a quarter of an hour"
    assert next(place for place, value in enumerate(host["offset"][0]) if value is not None) * told["column_s"] <= 60
    hours = client.get("/watch/streams/web-1").text.partition("Hour by hour")[2].partition('id="changes"')[0]
    rows = re.findall(r'datetime="[^"]*T(\d\d:\d\d):00Z".*?<td class="n">(\d+) of (\d+)</td>', hours)
    assert rows[0][0] == units.utc_moment(begin_s * 10**9).strftime("%H:%M")
    assert len(rows) <= 2
    assert 0 <= sum(int(row[2]) - int(row[1]) for row in rows) <= 120, "no minute before it was watched counts"
    added = partial(replace, find_stream(database, "web-3"))
    noon_ns = (day_s - 86400 + 43200) * 10**9
    for earliest_tick, from_s in ((None, 43200), (day_s - 86400 + 3661, 3660), (day_s - 86400 + 50000, 43200)):
        found_s = find_watched_from_s(added(added_ns=noon_ns), earliest_tick, day_s - 86400, day_s)
        assert found_s == day_s - 86400 + from_s
    for added_ns in (noon_ns - 86400 * 10**9, noon_ns + 86400 * 10**9):  # the day before, and the day after
        assert find_watched_from_s(added(added_ns=added_ns), None, day_s - 86400, day_s) == day_s - 86400


def test_incidents_are_listed_with_their_cause_and_clocks(client: httpx2.Client) -> None:
    text = text_of(client.get("/watch/incidents"))
    assert "4f00aa00bb00 phc unreadable kernel 6.12.1" in text
    assert "goes on" in text
    assert "after 50 min" in text


def test_latest_moves_are_shown_with_their_reason_and_the_log_has_the_rest(client: httpx2.Client) -> None:
    moves = text_of(client.get("/watch")).partition("Latest moves")[2]
    assert f"{WORKER} stream web-1 is to go to w1, since <script>" in moves
    assert "hub leads" not in moves
    log = text_of(client.get("/watch/log"))
    assert "leader hub leads, epoch 1" in log
    assert "since <script>" in log
    chosen = text_of(client.get("/watch/log?kind=leader"))
    assert "hub leads" in chosen
    assert "since <script>" not in chosen
    assert "There is nothing." in text_of(client.get("/watch/log?kind=mend"))
    assert client.get("/watch/log?kind=nonsense").status_code == 422


def test_what_a_host_said_is_text(client: httpx2.Client, watching: RunningService) -> None:
    database = watching.ledger.database
    before = database.read(lambda db: db.execute(WATCH_STATES.select()).mappings().all())
    change = StateChange(
        tick=1, interval_ns=10**9, state=StreamState.BROKEN, reason=Reason.OUT_OF_LIMITS, sentence=HOSTILE
    )
    WatchStates(database).write([], [("web-1", 1, change)], worker=WORKER, replayed=True)
    figures = {"offset_ns": "9", "follows_phc": HOSTILE, "chrony_bound_ns": [1]}
    hostile = {"sentence": HOSTILE, "host": {HOSTILE: HOSTILE}, "latest": figures}
    database.write(lambda db: db.execute(WATCH_STATES.update().values(**hostile)) and None)
    try:
        days = ("/watch/streams/web-1", "/watch/streams/web-1?day=1970-01-01")
        for path in ("/watch", "/watch/incidents", "/watch/log", *days):
            page = client.get(path)
            assert page.status_code == 200, path
            for wrong in ("<script>alert", "<img src=x", "\x1b", "\u202e"):
                assert wrong not in page.text, (path, wrong)
    finally:
        for row in before:
            restored = WATCH_STATES.update().where(WATCH_STATES.c.stream == row["stream"]).values(**row)
            database.write(lambda db, restored=restored: db.execute(restored) and None)  # type: ignore[misc]


def test_pages_of_the_watch_ask_for_a_login(tmp_path: Path) -> None:
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as service:
        with service.client(None, headers=HTML) as client:
            for path in ("/watch", "/watch/incidents", "/watch/log", "/watch/streams/web-1"):
                assert client.get(path).status_code == 303
        with service.client(None) as program:
            assert program.get("/watch/series.json?stream=a&day=2026-01-05").status_code == 401


def test_watch_without_clocks_says_how_to_begin(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with (
        running_service(url, tmp_path / "state", is_open=True) as service,
        service.client(None, headers=HTML) as client,
    ):
        assert "No clock is watched" in text_of(client.get("/watch"))
        assert "There was none." in text_of(client.get("/watch/incidents"))
