"""A run while it goes on, long logs and long measurements, in a real browser with a real service."""

import datetime
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.model import Event, Stage
from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_parts import ATTEMPT_FILE
from harness.store.ledger import Ledger
from harness.store.tables import EVENTS, RUNS
from tests.doubles.clock_story import DRIFTING, GOOD, LAB, add_run, add_task, make_record, recorded_host
from tests.servers.chromium import Tab
from tests.servers.service import RunningService, running_service

pytestmark = pytest.mark.programs


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite that asks for no token."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", is_open=True) as running:
        yield running


@pytest.fixture
def ledger(service: RunningService) -> Iterator[Ledger]:
    """The ledger, as the process of a run has it open."""
    opened = Ledger(service.ledger.database.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def begin(ledger: Ledger, *hosts: str) -> str:
    """Begin a run of hosts of the lab."""
    campaign = {"bench": "lab"}
    return ledger.open_run(bench="lab", campaign=campaign, hosts={host: host for host in hosts})


def tell(ledger: Ledger, run: str, host: str, stage: Stage, text: str) -> None:
    """Say something about a host."""
    ledger.say(Event(run=run, host=host, stage=stage, text=text, at=datetime.datetime.now(datetime.UTC)))
    ledger.flush()


def test_a_run_is_seen_live(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    run = begin(ledger, "lab.phc", "lab.drifting")
    tab.open(f"{service.url}/runs/{run}")
    assert tab.text(".tally .state") == "under way"
    assert "2 without a verdict yet" in tab.text(".tally")
    token = ledger.own_host(run, "lab.phc").token
    step = ledger.begin_step(token, Stage.PROVISION)
    tab.wait_until("document.querySelector('.hosts').innerText.includes('being provisioned')")
    ledger.end_step(step, "done")
    measure = ledger.begin_step(token, Stage.MEASURE)
    folder = EvidenceFolder.create(service.context.settings.runs_dir / run).host("lab.phc")
    folder.write(ATTEMPT_FILE, "1\n")
    lines = (LAB / GOOD / "samples.jsonl").read_text().splitlines(keepends=True)
    with folder.stream("samples.jsonl") as file:
        file.write("".join(lines[:20]).encode())
        file.flush()
        tell(ledger, run, "lab.phc", Stage.MEASURE, "20 s of 1 min: PHC0 selected, offset +84 ns <b>")
        tab.wait_until("document.querySelector('.hosts span.now')")
        shown = tab.text(".hosts tbody tr")
        assert re.search(r"[\d.]+ [num]s\s+[\d.]+ us\s+being measured", shown)
        assert tab.text(".log li:last-child").endswith(
            "lab.phc measure 20 s of 1 min: PHC0 selected, offset +84 ns <b>"
        )
        steps = "[...document.querySelectorAll('.steps i')].map(mark => mark.className).join()"
        assert tab.evaluate(steps) == "done,done,done,now,ahead"
    ledger.end_step(measure, "done")
    good = replace(recorded_host(GOOD), name="lab.phc")
    ledger.record_verdict(token, good)
    ledger.record_state(token, good)
    tab.wait_until("document.querySelector('.hosts .badge.pass')")
    assert tab.evaluate("document.querySelectorAll('.hosts .ladder-bar i').length") == 13
    other = replace(recorded_host(DRIFTING), name="lab.drifting", instance_type="lab.drifting")
    ledger.record_verdict(ledger.own_host(run, "lab.drifting").token, other)
    ledger.close_run(make_record(run, "lab", [good, other]))
    tab.wait_until("document.querySelector('.tally .state').innerText === 'ended'")
    assert tab.text(".tally").split() == ["ended", "1", "PASS", "1", "FAIL"]
    assert "ended: 1 PASS, 1 FAIL" in tab.text(".log li:last-child")
    assert tab.console == []
    streams = [url for url in tab.requests if "/events" in url]
    assert len(streams) == 1, "one stream, which ended with the run"


def test_whoever_looks_at_a_run_keeps_the_focus(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    run = begin(ledger, "lab.phc")
    tab.open(f"{service.url}/runs/{run}")
    tab.evaluate("document.querySelector('.hosts th a').focus()")
    token = ledger.own_host(run, "lab.phc").token
    ledger.begin_step(token, Stage.PROVISION)
    tab.wait_until("document.querySelector('.log li:last-child').innerText.includes('provision')")
    time.sleep(1.5)
    assert tab.evaluate("document.activeElement.textContent") == "lab.phc"


def test_a_service_that_was_away_is_found_again(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    """A stream that broke goes on behind its last event: nothing is missing, nothing is there twice."""
    run = begin(ledger, "lab.phc")
    tab.open(f"{service.url}/runs/{run}")
    tell(ledger, run, "lab.phc", Stage.MEASURE, "before")
    tab.wait_until("document.querySelector('.log').innerText.includes('before')")
    tab.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    for number in range(5):
        tell(ledger, run, "lab.phc", Stage.MEASURE, f"while away {number}")
    time.sleep(1)
    tab.send("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    tell(ledger, run, "lab.phc", Stage.MEASURE, "after")
    tab.wait_until("document.querySelector('.log').innerText.includes('after')", within_s=30)
    texts = tab.evaluate("[...document.querySelectorAll('.log li span')].map(line => line.textContent)")
    assert texts == ["begins, hosts: 1", "before", *(f"while away {number}" for number in range(5)), "after"]


def test_a_run_is_cancelled_after_a_question(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    task = add_task(ledger)
    assert service.context.queue.claim(service.context.options.limits) is not None
    run = service.ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, task=task)
    tab.open(f"{service.url}/runs/{run}")
    tab.evaluate("window.asked = []; window.confirm = question => { asked.push(question); return false }")
    tab.click(".actions .danger")
    tab.wait_until("asked.length === 1")
    assert service.context.queue.find(task).cancelled_by is None
    assert "Its hosts are released" in tab.evaluate("asked[0]")
    tab.evaluate("window.confirm = () => true")
    tab.follow(".actions .danger")
    assert service.context.queue.find(task).cancelled_by == "anybody"
    assert "cancelled by anybody" in tab.text("main")


def test_a_campaign_that_waits_becomes_its_run(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    task = add_task(ledger)
    tab.open(f"{service.url}/tasks/{task}")
    assert "number 1 in the queue" in tab.text()
    assert service.context.queue.claim(service.context.options.limits) is not None
    tab.wait_until("document.querySelector('main').innerText.includes('Its run begins')")
    run = service.ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, task=task)
    tab.wait_until(f"location.pathname === '/runs/{run}'")


def test_a_campaign_is_submitted_by_the_editor(service: RunningService, tab: Tab) -> None:
    tab.open(f"{service.url}/submit?form=yaml")
    tab.evaluate("document.getElementById('document').value = ''")
    tab.type("#document", "bench: lab\ninstance_types: [lab.phc]\ndpeth: quick\n")
    assert tab.text("#document-lines").split() == ["1", "2", "3", "4"]
    tab.follow(".send button[value=submit]")
    assert "unknown key; did you mean 'depth'?" in tab.text("#mistakes")
    assert tab.text("#document-lines b") == "3"
    tab.click("#mistakes a")
    assert (
        tab.evaluate(
            "document.getElementById('document').value.slice(document.getElementById('document').selectionStart,"
            " document.getElementById('document').selectionEnd)"
        )
        == "dpeth: quick"
    )
    tab.evaluate("document.getElementById('document').value = 'bench: lab\\ninstance_types: [lab.phc]\\n'")
    tab.follow(".send button[value=submit]")
    assert "It waits for its turn" in tab.text()
    assert tab.console in ([], [entry for entry in tab.console if "422" in entry])


# -- long logs


def fill_log(ledger: Ledger, run: str, count: int) -> int:
    """Give a run so many events; return how many bytes their texts have."""
    text = "0123456789 " * 9
    now_ns = ledger.now_ns()
    rows = [
        {"run": run, "number": number, "ident": f"x{number}", "host": "lab.phc", "stage": "measure", "at_ns": now_ns,
         "text": f"{number} {text}"}
        for number in range(2, count + 1)
    ]  # fmt: skip

    def work(db: sql.Connection) -> None:
        for first in range(0, len(rows), 5000):
            db.execute(EVENTS.insert(), rows[first : first + 5000])
        db.execute(RUNS.update().where(RUNS.c.run == run).values(events=count))

    ledger.database.write(work)
    return sum(len(str(row["text"])) for row in rows)


def first_screen_s(tab: Tab, url: str, element: str) -> float:
    """How long it takes from the request until an element with text is painted, s: the best of three."""
    times = []
    for _ in range(3):
        tab.open(url)
        tab.wait_until(f"document.querySelector({json.dumps(element)})?.innerText.length > 100")
        entry = "performance.getEntriesByType('paint').find(each => each.name === 'first-contentful-paint')?.startTime"
        tab.wait_until(f"{entry} > 0")
        times.append(tab.evaluate(entry) / 1000)
    return min(times)


def test_the_end_of_a_log_of_11_mb_is_seen_at_once_and_goes_on(
    service: RunningService, ledger: Ledger, tab: Tab, record_property: pytest.FixtureRequest
) -> None:
    run = begin(ledger, "lab.phc")
    assert fill_log(ledger, run, 110_000) > 11_000_000
    seconds = first_screen_s(tab, f"{service.url}/runs/{run}", ".log")
    record_property("counted", f"first screen of a log of 11 MB: {seconds:.3f} s")  # type: ignore[operator]
    assert seconds < 0.3
    assert "110000 0123456789" in tab.text(".log li:last-child")
    assert (
        tab.evaluate(
            "(() => { const box = document.querySelector('.logbox');"
            " return box.scrollHeight - box.scrollTop - box.clientHeight })()"
        )
        < 5
    )
    tell(ledger, run, "lab.phc", Stage.MEASURE, "one more")
    tab.wait_until("document.querySelector('.log li:last-child').innerText.includes('one more')", within_s=5)
    assert tab.bytes_received < 120_000
    tab.evaluate("document.querySelector('.logbox').scrollTop = 0")
    place = tab.evaluate("document.querySelector('.log li').id")
    tab.click(".earlier a")
    tab.wait_until("document.querySelectorAll('.log li').length > 350")
    assert tab.evaluate("document.querySelector('.log li').id") == f"event-{int(place[6:]) - 200}"
    event, box = "document.getElementById({})", "document.querySelector('.logbox')"
    top = f"{event}.getBoundingClientRect().top - {box}.getBoundingClientRect().top"
    assert abs(tab.evaluate(top.format(json.dumps(place)))) < 60, "what was read stays in its place"


def test_the_end_of_a_file_of_11_mb_is_seen_at_once(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    runs_dir = service.context.settings.runs_dir
    run = add_run(ledger, [recorded_host(GOOD)], bench="lab", runs_dir=runs_dir, like={"lab.phc": GOOD})
    log = runs_dir / run / "lab.phc" / "configure.log"
    log.write_text("".join(f"TASK [step {number}] {'x' * 60}\n" for number in range(150_000)))
    assert log.stat().st_size > 11_000_000
    assert first_screen_s(tab, f"{service.url}/runs/{run}/hosts/lab.phc/files/configure.log", "pre") < 0.3
    assert "TASK [step 149999]" in tab.text("pre")
    tab.follow("a[rel=prev]")
    assert "TASK [step 149999]" not in tab.text("pre")
    tab.follow("a[rel=next]")
    assert "TASK [step 149999]" in tab.text("pre")


# -- long measurements


def write_day(folder: Path) -> None:
    """Write a day of samples, one a second: those of a recorded host again and again, with one spike of 90 ms."""
    lines = [json.loads(line) for line in (LAB / GOOD / "samples.jsonl").read_text().splitlines()[1:-1]]
    with (folder / "samples.jsonl").open("w") as file:
        file.write(json.dumps({"kind": "start", "schema": 1, "interval_s": 1.0, "duration_s": 86_400.0}) + "\n")
        for slot in range(86_400):
            sample = lines[slot % len(lines)] | {"seq": slot}
            shift_ns = (slot - slot % len(lines)) * 10**9
            spike_ns = 90_000_000 if slot == 51_234 else 0
            reads = [[before + shift_ns, phc + shift_ns - spike_ns, after + shift_ns]
                     for before, phc, after in sample["phc"]["reads"][:1]]  # fmt: skip
            sample |= {"mono_ns": sample["mono_ns"] + shift_ns, "utc_ns": sample["utc_ns"] + shift_ns}
            file.write(json.dumps({**sample, "phc": {**sample["phc"], "reads": reads}}) + "\n")
        file.write(json.dumps({"kind": "end", "samples": 86_400, "reason": "done"}) + "\n")


def test_a_day_of_samples_is_drawn_at_once_and_without_losing_a_spike(
    service: RunningService, ledger: Ledger, tab: Tab, record_property: pytest.FixtureRequest
) -> None:
    runs_dir = service.context.settings.runs_dir
    run = add_run(ledger, [recorded_host(GOOD)], bench="lab", runs_dir=runs_dir, like={"lab.phc": GOOD},
                  measure={"duration": "1d"}, lease="2d")  # fmt: skip
    folder = runs_dir / run / "lab.phc"
    (folder / "samples.columns").unlink()
    write_day(folder)
    url = f"{service.url}/runs/{run}/hosts/lab.phc"
    tab.open(url)
    tab.wait_until("performance.getEntriesByName('plots').length > 0", within_s=120)  # the lines are parsed once
    times = []
    for _ in range(3):
        tab.open(url)
        tab.wait_until("performance.getEntriesByName('plots').length > 0")
        times.append(tab.evaluate("performance.getEntriesByName('plots')[0].duration"))
    record_property("counted", f"86,400 samples drawn in {min(times):.0f} ms")  # type: ignore[operator]
    assert min(times) < 100
    assert tab.evaluate("document.querySelectorAll('.plot canvas').length") == 3
    assert tab.bytes_received < 120_000
    assert "columns of 108 s" in tab.text(".plot-tools")
    assert tab.evaluate(SPIKE) > 0.7, "the spike is as high as the plot"
    for _ in range(6):
        zoom_towards(tab, 51_234)
    assert "columns of 1 s" in tab.text(".plot-tools") or "columns of 2 s" in tab.text(".plot-tools")
    assert tab.evaluate(SPIKE) > 0.7
    assert tab.console == []


SPIKE = """
(() => {  // how much of the height of the first plot its curve takes
  const canvas = document.querySelector('.plot canvas'), context = canvas.getContext('2d');
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), blue = [11, 98, 176];
  let least = canvas.height, greatest = 0;
  for (let y = 0; y < canvas.height - 45; y++) {
    for (let x = 90; x < canvas.width - 14; x++) {
      const at = 4 * (y * canvas.width + x);
      if (blue.every((value, part) => Math.abs(pixels.data[at + part] - value) < 90) && pixels.data[at + 3] > 60) {
        least = Math.min(least, y);
        greatest = Math.max(greatest, y);
      }
    }
  }
  return (greatest - least) / (canvas.height - 50);
})()
"""
SHOWN = "JSON.parse(document.querySelector('.plot').dataset.shown)"
"""The first second that a plot shows, and how many seconds it shows."""


def zoom_towards(tab: Tab, second: int) -> None:
    """Drag over the part of the first plot around a second of the measurement."""
    shown = tab.evaluate(
        "(() => { const plot = document.querySelector('.plot .u-over'); plot.scrollIntoView({block: 'center'});"
        " const over = plot.getBoundingClientRect(); return [over.left, over.width, over.top + 40] })()"
    )
    left, width, top = shown
    first_s, length_s = tab.evaluate(SHOWN)
    middle = left + width * (second - first_s) / length_s
    for kind, x in (("mousePressed", middle - width / 8), ("mouseMoved", middle), ("mouseMoved", middle + width / 8),
                    ("mouseReleased", middle + width / 8)):  # fmt: skip
        x = min(max(x, left + 1), left + width - 1)
        tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=top, button="left", buttons=1, clickCount=1)
    tab.wait_until(f"{SHOWN}[1] < {length_s}")


def test_the_part_of_a_plot_is_chosen_by_keys(service: RunningService, ledger: Ledger, tab: Tab) -> None:
    runs_dir = service.context.settings.runs_dir
    run = add_run(ledger, [recorded_host(GOOD)], bench="lab", runs_dir=runs_dir, like={"lab.phc": GOOD})
    tab.open(f"{service.url}/runs/{run}/hosts/lab.phc")
    tab.wait_until("document.querySelector('.plot-tools')")
    before = tab.text(".plot-tools .small")
    tab.evaluate("document.querySelector('.plot-tools button').focus()")
    tab.send("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
    tab.wait_until(f"document.querySelector('.plot-tools .small').innerText !== {json.dumps(before)}")
    assert tab.evaluate("document.activeElement.textContent") == "Zoom in", "the focus stays"
    assert "04:48:04 to 04:48:34 UTC" in tab.text(".plot-tools .small")
    for name in ("Earlier", "Later", "Zoom out"):
        shown = tab.text(".plot-tools .small")
        tab.evaluate(
            f"[...document.querySelectorAll('.plot-tools button')].find(b => b.textContent === '{name}').click()"
        )
        tab.wait_until(f"document.querySelector('.plot-tools .small').innerText !== {json.dumps(shown)}")
