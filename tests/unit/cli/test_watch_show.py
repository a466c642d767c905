"""`watch show` and `watch incidents`: what a watched clock is, why, since when, and what to do about it."""

import json
import subprocess
from collections.abc import Callable

import pytest

from harness import units
from harness.model.incidents import Incident
from harness.store.ledger import Ledger
from harness.store.owners import read_now
from harness.store.tables import WATCH_STATES
from harness.store.watch_incidents import WatchDays, WatchIncidents
from harness.watch.day_figures import compute_day_figures, find_day_ticks
from harness.watch.stream_limits import read_limits
from tests.doubles.watched_clock import EC2_NOISE, lose_phc, watch_clock
from tests.doubles.watched_ledger import WatchedLedger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def watched(ledger: Ledger) -> WatchedLedger:
    watched = WatchedLedger(database=ledger.database)
    watched.add("web-1", "web-2")
    return watched


def test_good_clock_is_shown_with_its_figures_and_its_hour(call: Call, watched: WatchedLedger) -> None:
    watched.sample("web-1", 900)
    done = call("watch", "show", "web-1")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text.startswith("web-1: OK since ")
    assert "sampled by worker w1, epoch 1" in text
    assert "host: kernel 6.12.1, driver 2.17" in text
    assert "chronyd follows the PHC, 100.00 % of readings succeeded" in text
    assert "one character a minute (. ok, - degraded, # broken, ? unknown)" in text
    assert "next:" not in text
    assert "this hour: within its bound" in text
    assert "not judged as in a run: convergence is not judged" in text


def test_broken_clock_is_shown_with_its_reason_and_what_to_do(call: Call, watched: WatchedLedger) -> None:
    watched.sample("web-1", 900, fault=lose_phc, for_s=120)
    text = call("watch", "show", "web-1").stdout
    assert "web-1: BROKEN since" in text
    assert "phc_unreadable: no reading of the PHC succeeded for 8 ticks" in text
    assert "next: stop other readers of the clock" in text
    drawn = next(line for line in text.splitlines() if "#" in line and "broken" not in line)
    assert drawn.rstrip().endswith(("#", "##"))
    shown = json.loads(call("watch", "show", "web-1", "--json").stdout)
    assert (shown["state"], shown["reason"], shown["owner"]) == ("broken", "phc_unreadable", "w1")
    assert len(shown["minutes"]) == 60
    assert [change["state"] for change in shown["changes"]] == ["broken", "ok", "unknown"]
    assert shown["remedy"] == shown["remedy"].strip() != ""


def test_clock_that_nobody_samples_is_unknown_whatever_was_told_of_it(call: Call, watched: WatchedLedger) -> None:
    watched.sample("web-1", 700, until_s=200)
    old = WATCH_STATES.update().values(sampled_ns=WATCH_STATES.c.sampled_ns - 200 * 10**9)
    watched.database.write(lambda db: db.execute(old) and None)
    text = call("watch", "show", "web-1").stdout
    assert text.startswith("web-1: UNKNOWN since")
    assert "before that, it was ok" in text
    assert json.loads(call("watch", "show", "web-1", "--json").stdout)["minutes"][-1]["state"] == "unknown"


def test_clock_without_a_sample_is_unknown(call: Call, watched: WatchedLedger) -> None:
    assert "web-2: UNKNOWN\n  no worker has told its state" in call("watch", "show", "web-2").stdout


def test_day_is_shown_by_hours_with_the_figures_that_are_kept_of_it(call: Call, watched: WatchedLedger) -> None:
    day = units.utc_moment(watched.database.read(read_now) - 86_400 * 10**9).date().isoformat()
    first, _ = find_day_ticks(day, 1.0)
    readings = [*watch_clock(EC2_NOISE, 2000, first=first)]
    figures = compute_day_figures(day, readings, [], interval_s=1.0, limits=read_limits({}))
    WatchDays(watched.database).write("web-1", day, figures)
    text = call("watch", "show", "web-1", "--day", day).stdout
    assert text.count("?" * 60) == 24
    assert "offset of the day: standard deviation" in text
    assert "30 days: within its bound 2.31 % to 100.00 % of the time" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "web-9"), "there is no stream 'web-9'"),
        (("show", "web-1", "--day", "yesterday"), "'yesterday' is no day"),
        (("show", "web-1", "--day", "2026-11-31"), "'2026-11-31' is no day"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    call: Call, watched: WatchedLedger, words: tuple[str, ...], sentence: str
) -> None:
    done = call("watch", *words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_incidents_are_listed_with_their_cause_and_what_to_do(call: Call, watched: WatchedLedger) -> None:
    now_ns = watched.database.read(read_now)
    assert "no incident goes on" in call("watch", "incidents").stderr
    incident = Incident(
        incident="4f00aa00bb00",
        kind="not_synchronised",
        cause="kernel 6.1.0-30",
        streams=("web-1", "web-2"),
        sentence="2 streams: not synchronised; all have kernel 6.1.0-30: web-1, web-2",
        recommendation="compare with a host of another kernel",
        began_ns=now_ns - 90 * 10**9,
    )
    ended = Incident(
        incident="5f00",
        kind="unreachable",
        cause="stream web-2",
        streams=("web-2",),
        sentence="web-2: unreachable",
        recommendation="see",
        began_ns=now_ns - 900 * 10**9,
        ended_ns=now_ns - 600 * 10**9,
    )
    WatchIncidents(watched.database).write([incident, ended])
    text = call("watch", "incidents").stdout
    assert "4f00aa00bb00  kernel 6.1.0-30  since" in text
    assert "goes on for 1 min 3" in text
    assert "next: compare with a host of another kernel" in text
    assert "5f00" not in text
    assert "ended" in call("watch", "incidents", "--all").stdout
    listed = json.loads(call("watch", "incidents", "--all", "--json").stdout)
    assert [(each["incident"], each["ended"] is None) for each in listed] == [("4f00aa00bb00", True), ("5f00", False)]
