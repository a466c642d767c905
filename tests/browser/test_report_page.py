"""A browser shows the HTML report without a complaint, without loading anything, and without scrolling sideways."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import ladder
from harness.analysis.plot_series import reduce_samples
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.html.page import render_page

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

pytestmark = [pytest.mark.programs, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]


@pytest.fixture(scope="module")
def page() -> str:
    """The report of the recorded hosts of the lab, and of one with a very long name."""
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
    record = RunRecord(
        run="abcd", bench="lab", started="2026-11-21", seconds=60, interrupted=True, hosts=tuple(hosts), leftovers=()
    )
    return render_page(record, plots)


def browse(folder: Path, content: str, width: int = 1280) -> tuple[str, list[str]]:
    """Open a page; return its elements as the browser has them in the end, and what it wrote to its console."""
    (folder / "page.html").write_text(content)
    argv = [
        str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom",
        f"file://{folder / 'page.html'}",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def framed(content: str, width: int) -> str:
    """A page that shows another one in a frame of this width, and has as its title how wide that one wants to be.

    A window of a browser has a least width, which is more than that of a phone.
    """
    measure = "document.title = frame.contentDocument.documentElement.scrollWidth"
    return (
        f'<!DOCTYPE html><title></title><iframe id="frame" width="{width}" height="900" style="border: 0" '
        f'srcdoc="{html.escape(content)}"></iframe><script>frame.onload = () => {{ {measure} }}</script>'
    )


def test_the_page_loads_nothing_and_the_console_stays_empty(tmp_path: Path, page: str) -> None:
    """The page's own policy forbids all that it might load, so that an attempt is an error in the console."""
    shown, console = browse(tmp_path, page)
    assert console == []
    assert shown.count("<svg") == page.count("<svg") > 20


def test_an_attempt_to_load_something_would_be_noticed(tmp_path: Path, page: str) -> None:
    for attempt in ('<img src="http://127.0.0.1:9/x.png">', "<script>1</script>"):
        _, console = browse(tmp_path, page.replace("</main>", f"{attempt}</main>"))
        assert "Content Security Policy" in json.dumps(console)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(tmp_path: Path, page: str, width: int) -> None:
    shown, _ = browse(tmp_path, framed(page, width))
    wanted = re.search(r"<title>(\d+)</title>", shown)
    assert wanted is not None
    assert int(wanted[1]) <= width


def test_a_page_that_scrolls_sideways_would_be_noticed(tmp_path: Path, page: str) -> None:
    shown, _ = browse(tmp_path, framed(page.replace("<main>", '<main><table class="n"><td>' + "x" * 500), 390))
    assert int(re.findall(r"<title>(\d+)</title>", shown)[0]) > 390
