"""A page of the report, one of a comparison, a service with many verdicts, and Chromium to open them."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness import ladder
from harness.analysis.plot_series import reduce_samples
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.html.comparison_page import render_comparison_page
from harness.report.html.page import render_page
from harness.store.ledger import Ledger
from harness.store.watch_streams import WatchStreams
from harness.watch.stream_duties import StreamDuties
from tests.doubles.clock_story import tell_story
from tests.doubles.compared_runs import COMPARISON
from tests.doubles.watched_clock import lose_phc
from tests.doubles.watched_ledger import WatchedLedger
from tests.servers.chromium import Browser, Tab, browser
from tests.servers.service import RunningService, running_service

LAB = Path(__file__).parents[1] / "data" / "lab"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser itself calls its vendor, whatever its flags are
    "--enable-logging=stderr",
)
Browse = Callable[..., tuple[str, list[str]]]


@pytest.fixture(scope="session")
def page() -> str:
    """The report of the recorded hosts of the lab, one with a very long name, and a second one of a type."""
    hosts, plots = [], {}
    for folder in sorted(path for path in LAB.iterdir() if (path / "samples.jsonl").exists()):
        facts, _ = read_facts((folder / "facts.json").read_text(), where="facts.json")
        samples, _, slots = read_samples((folder / "samples.jsonl").read_text(), where="samples.jsonl")
        evidence = Evidence(facts=facts, final_facts=facts, samples=samples, slots=slots)
        name = folder.name if hosts else "u-" + "x" * 100
        hosts.append(
            HostRecord(
                name=name,
                instance_type=f"lab.{folder.name}",
                verdict=ladder.judge(evidence, limits.requirements("lab"), depth=Depth.STANDARD, read_only=False),
                facts=facts,
                stages={},
                state=HostState.RELEASED,
                address=None,
                quality=compute_quality(evidence, interval_s=1.0),
            )
        )
        reduced = reduce_samples(evidence, interval_s=1.0)
        plots |= {} if reduced is None else {name: reduced}
    hosts.append(replace(hosts[-1], name="second"))
    record = RunRecord(
        run="abcd", bench="lab", started="2026-11-21", seconds=60, interrupted=True, hosts=tuple(hosts), leftovers=()
    )
    return render_page(record, plots)


@pytest.fixture(scope="session")
def comparison_page() -> str:
    """A comparison in which everything changed for one type, and figures of another one with a very long name."""
    long = "u-" + "x" * 100
    figures = (*COMPARISON.figures, *(replace(change, instance_type=long) for change in COMPARISON.figures))
    comparison = replace(COMPARISON, figures=figures, uncompared=(*COMPARISON.uncompared, f"{long}: not in this run"))
    return render_comparison_page(comparison, run="h8w2", bases=["k3f9", "m2p7"], started="2026-11-21T04:00:00+00:00")


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page; returns its elements as the browser has them in the end, and what it wrote to its console."""
    if CHROMIUM is None:
        pytest.skip("no chromium")

    def open_page(content: str, *flags: str, width: int = 1280) -> tuple[str, list[str]]:
        (tmp_path / "page.html").write_text(content)
        argv = [
            str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
            "--dump-dom", f"file://{tmp_path / 'page.html'}",
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that opens pages of a service."""
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldService:
    """A service with a ledger of many verdicts. `runs`: some of its runs by what they are good for."""

    running: RunningService
    runs: Mapping[str, str]

    @property
    def url(self) -> str:
        return self.running.url


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToldService]:
    """A service without tokens, whose ledger has a story."""
    folder = tmp_path_factory.mktemp("told")
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    ledger = Ledger(url)
    runs = tell_story(ledger, folder / "runs")
    tell_watch(ledger)
    ledger.close()
    with running_service(url, folder, is_open=True) as running:
        yield ToldService(running=running, runs=runs)


def tell_watch(ledger: Ledger) -> None:
    """Have two clocks watched, of which one has lost its PHC, and one that nobody samples."""
    watched = WatchedLedger(database=ledger.database)
    watched.add("web-1", "web-2", "web-3-" + "x" * 60)
    watched.sample("web-1", 7200)
    watched.sample("web-2", 900, fault=lose_phc, for_s=300)
    StreamDuties(ledger.database).find_incidents(WatchStreams(ledger.database).lead("test") or 0)


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    """A page of that browser."""
    opened = Tab(chromium)
    yield opened
    opened.close()


@pytest.fixture
def plain_tab(chromium: Browser) -> Iterator[Tab]:
    """A page of that browser in which scripts are switched off."""
    opened = Tab(chromium, scripts=False)
    yield opened
    opened.close()
