"""The pages of a real service in a real browser: no complaint, no foreign request, and all is small."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import ToldService
from tests.servers.chromium import DESKTOP, PHONE, Tab
from tests.servers.cutting_proxy import cutting_proxy

pytestmark = pytest.mark.programs

AXE = Path(__file__).parents[2] / ".venv/node/node_modules/axe-core/axe.min.js"
MOST_REQUESTS, MOST_BYTES = 4, 120_000

PAGES: dict[str, Callable[[ToldService], str]] = {
    "overview": lambda told: "/",
    "overview of the lab": lambda told: "/?bench=lab",
    "runs": lambda told: "/runs",
    "runs, filtered": lambda told: "/runs?type=m7i.*&outcome=PASS&since=30d&sort=offset",
    "no run": lambda told: "/runs?type=none.such",
    "run": lambda told: f"/runs/{told.runs['mixed']}",
    "events": lambda told: f"/runs/{told.runs['mixed']}/log",
    "host that passed": lambda told: f"/runs/{told.runs['mixed']}/hosts/m7i.large",
    "host that failed": lambda told: f"/runs/{told.runs['mixed']}/hosts/c7i.xlarge",
    "host that was not judged": lambda told: f"/runs/{told.runs['mixed']}/hosts/r7i.large",
    "host without a clock": lambda told: f"/runs/{told.runs['mixed']}/hosts/t3.micro",
    "evidence": lambda told: f"/runs/{told.runs['mixed']}/hosts/m7i.large/files/configure.log",
    "compare": lambda told: "/compare",
    "runs compared": lambda told: f"/compare?runs={told.runs['mixed']}+{told.runs['before']}",
    "types compared": lambda told: "/compare?types=m7i.large+c7i.xlarge+t3.micro",
    "queue": lambda told: "/queue",
    "watch": lambda told: "/watch",
    "watched clocks, filtered": lambda told: "/watch?state=ok&name=web",
    "incidents": lambda told: "/watch/incidents",
    "log of the watch": lambda told: "/watch/log",
    "watched clock": lambda told: "/watch/streams/web-1",
    "watched clock that broke": lambda told: "/watch/streams/web-2",
    "watched clock, another day": lambda told: "/watch/streams/web-1?day=2026-01-05",
    "task": lambda told: f"/tasks/{told.runs['task']}",
    "form": lambda told: "/submit",
    "editor": lambda told: "/submit?form=yaml",
    "login": lambda told: "/login",
}


def address(told: ToldService, page: str) -> str:
    return told.url + PAGES[page](told)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_small_and_nothing_is_complained_of(told: ToldService, tab: Tab, page: str) -> None:
    tab.open(address(told, page))
    assert tab.console == []
    assert {urlsplit(url).netloc for url in tab.requests} == {urlsplit(told.url).netloc}
    assert len(tab.requests) <= MOST_REQUESTS
    assert 0 < tab.bytes_received <= MOST_BYTES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(told: ToldService, tab: Tab, page: str) -> None:
    tab.show(PHONE)
    tab.open(address(told, page))
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_not_shift_while_it_is_loaded(told: ToldService, tab: Tab, page: str) -> None:
    tab.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH_SHIFTS)
    with cutting_proxy(told.url) as link:
        for size in (DESKTOP, PHONE):
            tab.show(size)
            for link.piece_bytes in (None, 300):  # first what is kept for all pages, then the page piece by piece
                tab.open(f"{link.url}{PAGES[page](told)}")
                tab.wait_until("!document.querySelector('.plot:not(:has(canvas)):not(:has(p))')")
                assert tab.evaluate("window.shifts") == []


WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => list.getEntries().forEach(entry => {
  if (entry.value > 0.001 && !entry.hadRecentInput)
    window.shifts.push([entry.value, entry.sources.map(source => source.node && source.node.outerHTML.slice(0, 100))]);
})).observe({type: "layout-shift", buffered: true});
"""


CHECK = """
(async () => {
  const told = rules => rules.flatMap(rule => rule.nodes.map(node => [rule.id, node.html.slice(0, 200)]));
  document.querySelectorAll('details').forEach(details => { details.open = true });
  const found = await axe.run();
  // The colour of what has to be scrolled to, or is covered, is not known: lay all out in full, and look again.
  const style = new CSSStyleSheet();
  style.replaceSync(`.scroll, .logbox, .panel, .top { overflow: visible !important; max-height: none !important;
    height: auto !important } .scroll > table { width: max-content } .top, .send { position: static !important }
    body, main { display: block; width: max-content !important; max-width: none !important; min-width: 100% }
    .menu ul { position: static !important } div.figures, figure { display: block !important }
    textarea, pre { overflow: visible !important } .answer { display: block }`);
  document.adoptedStyleSheets = [style];
  const colours = await axe.run({runOnly: ['color-contrast']});
  return {
    violations: told(found.violations.concat(colours.violations)),
    unsure: told(found.incomplete.filter(rule => rule.id !== 'color-contrast').concat(colours.incomplete)),
    passes: found.passes.length,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
  };
})()
"""


def check(tab: Tab) -> list[list[str]]:
    """What axe-core finds wrong, or could not decide. It cannot tell the colour below a text of a plot."""
    tab.evaluate(f"{AXE.read_text()};0")
    found = tab.evaluate(CHECK)
    assert found["passes"] > 10
    unsure = [each for each in found["unsure"] if (each[0], each[1][:5]) != ("color-contrast", "<text")]
    return [*found["violations"], *unsure]


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core (`make .venv/node/.ready`)")
@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
@pytest.mark.parametrize("page", PAGES)
def test_axe_core_finds_nothing(told: ToldService, tab: Tab, page: str, size: tuple[int, int], scheme: str) -> None:
    tab.show(size, scheme=scheme)
    tab.open(address(told, page))
    assert check(tab) == []


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core (`make .venv/node/.ready`)")
def test_a_violation_would_be_found(told: ToldService, tab: Tab) -> None:
    tab.open(f"{told.url}/runs")
    tab.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"data:,\"><input>')")
    assert {rule for rule, _ in check(tab)} >= {"image-alt", "label"}


def test_a_foreign_request_and_a_script_in_a_page_would_be_noticed(told: ToldService, tab: Tab) -> None:
    tab.open(f"{told.url}/runs")
    for markup in ("<img src=http://127.0.0.1:9/x.png>", "<p style=color:red>", "<script>1</script>"):
        tab.console.clear()
        tab.evaluate(
            f"document.querySelector('main').append(document.createRange().createContextualFragment({markup!r}))"
        )
        tab.wait_until("true")
        assert tab.bytes_received
        assert "Content Security Policy" in "".join(tab.console)


# -- without scripts


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_scripts_has_what_it_has_with_them(
    told: ToldService, tab: Tab, plain_tab: Tab, page: str
) -> None:
    plain_tab.open(address(told, page))
    assert plain_tab.console == []
    tab.open(address(told, page))
    tab.evaluate("document.querySelectorAll('.plot').forEach(plot => plot.remove())")
    words = set(re.findall(r"[^\W\d]{4,}", tab.text()))
    root = plain_tab.send("DOM.getDocument")["root"]["nodeId"]
    html = plain_tab.send("DOM.getOuterHTML", nodeId=root)["outerHTML"]
    assert {word for word in words if word not in html} == set()


def test_the_plots_of_a_host_are_drawn_without_scripts(told: ToldService, plain_tab: Tab) -> None:
    plain_tab.open(address(told, "host that passed"))
    shown = plain_tab.send("DOM.getDocument", depth=-1)
    text = str(shown)
    assert text.count("'nodeName': 'svg'") >= 4
    assert "Offset over time" in text


# -- what pages do


def test_the_answer_is_on_the_first_screen(told: ToldService, tab: Tab) -> None:
    """Which types can be trusted, and since when not."""
    tab.open(f"{told.url}/")
    groups = {name: tab.text(f"section.group.{name}") for name in ("pass", "fail", "inconclusive", "unsupported")}
    assert "m7i.large" in groups["pass"]
    assert re.search(r"c8g\.large\s+fails since \d{4}-\d\d-\d\d, run \w+; passed until \d{4}-\d\d-\d\d", groups["fail"])
    assert re.search(r"r7i\.large\s+not known since .*; PASS 17 d ago; passes with debian-13", groups["inconclusive"])
    assert "t3.micro" in groups["unsupported"]
    assert tab.evaluate("document.querySelector('.answer').getBoundingClientRect().bottom") < DESKTOP[1]


def test_a_cell_leads_to_its_host_and_from_there_to_its_run(told: ToldService, tab: Tab) -> None:
    tab.open(f"{told.url}/")
    tab.follow("#type-c8g\\.large .cell.fail .verdict")
    assert tab.text("h1") == "c8g.large FAIL"
    tab.follow(".trail li:nth-child(2) a")
    assert tab.text("h1") == f"Run {told.runs['mixed']}"


def test_filters_are_kept_in_the_address(told: ToldService, tab: Tab) -> None:
    tab.open(f"{told.url}/runs")
    tab.type("#filter-type", "m7g.*")
    tab.evaluate("document.getElementById('filter-outcome').value = 'PASS'")
    tab.follow(".filters button")
    assert tab.evaluate("location.search") == "?type=m7g.*&outcome=PASS&state=&bench=&since=&until=&sort="
    assert tab.evaluate("document.getElementById('filter-type').value") == "m7g.*"
    assert "m7g.medium" in tab.text("table.runs")
    assert told.runs["kept"] not in tab.text("table.runs")


def test_everything_is_reached_by_keys(told: ToldService, tab: Tab) -> None:
    """Each stop is seen: what has the focus has an outline."""
    tab.open(f"{told.url}/")
    stops = []
    for _ in range(14):
        tab.press("Tab", code=9)
        stops.append(
            tab.evaluate(
                "[document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [text for text, _ in stops[:9]] == [
        "Skip to the content", "PTP Harness", "Overview", "Runs", "Compare", "Kept hosts", "Queue", "Sites", "Submit",
    ]  # fmt: skip
    assert {outline for _, outline in stops} <= {"solid", "auto"}
    tab.open(f"{told.url}/")
    tab.press("Tab", code=9)
    tab.send("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
    tab.wait_until("document.activeElement.id === 'main'")


def test_the_style_on_paper_is_black_on_white_and_without_buttons(told: ToldService, tab: Tab, tmp_path: Path) -> None:
    tab.show(DESKTOP, scheme="dark", media="print")
    for page in ("overview", "run", "host that failed"):
        tab.open(address(told, page))
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert tab.evaluate("[...document.querySelectorAll('button, .top nav')].every(e => !e.offsetParent)")
        tab.print_to(tmp_path / "page.pdf")
        assert (tmp_path / "page.pdf").stat().st_size > 10_000


def test_pages_are_compressed_and_static_files_are_kept(told: ToldService) -> None:
    with told.running.client(None) as client:
        page = client.get("/")
        assert page.headers["content-encoding"] == "gzip"
        assert page.headers["cache-control"] == "no-store"
        for path in set(re.findall(r'"(/static/[^"]+)"', page.text)):
            file = client.get(path)
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
            plain = client.get(path, headers={"Accept-Encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert plain.content == file.content
            assert len(gzip.compress(plain.content)) < 30_000
