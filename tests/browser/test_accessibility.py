"""axe-core finds no violation in the HTML pages: light and dark, on a desktop and on a phone."""

import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.model import (
    Claim,
    HostState,
    Outcome,
    Reason,
    Resource,
    Rung,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
)
from harness.report.html.page import render_page
from tests.doubles.records import make_finding, make_host, make_verdict

AXE = Path(__file__).parents[2] / ".venv/node/node_modules/axe-core/axe.min.js"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
PHONE, DESKTOP = 390, 1280
REASONS = {
    Outcome.PASS: Reason.SYNCHRONISED,
    Outcome.UNSUPPORTED: Reason.NO_PHC,
    Outcome.INCONCLUSIVE: Reason.CAPACITY,
    Outcome.FAIL: Reason.OUT_OF_LIMITS,
}
RUNGS = tuple(
    Rung(name=name, status=status, evidence="it was seen") for name, status in zip(RungName, RungStatus, strict=False)
)
FINDINGS = tuple(
    make_finding(observed=1500.0, source="default for EC2", samples=60, held=held) for held in (True, False, None)
)

Browse = Callable[..., tuple[str, list[str]]]

CHECK = """
const told = rules => rules.flatMap(rule => rule.nodes.map(node => [rule.id, node.html.slice(0, 200)]));
frame.onload = async () => {
  const inner = frame.contentWindow, page = inner.document;
  page.querySelectorAll('details').forEach(details => { details.open = true });
  const found = await inner.axe.run(page);
  // The colour of a text that has to be scrolled to is not known: lay all tables out in full, and look again.
  const style = page.createElement('style');
  style.textContent = '.scroll { overflow: visible !important; max-height: none !important } main { max-width: none }'
    + 'div.figures, figure { display: block !important }';
  page.head.append(style);
  frame.width = 4000;
  const colours = await inner.axe.run(page, {runOnly: ['color-contrast']});
  const result = document.createElement('pre');
  result.id = 'result';
  result.textContent = JSON.stringify({
    violations: told(found.violations.concat(colours.violations)),
    unsure: told(found.incomplete.filter(rule => rule.id !== 'color-contrast').concat(colours.incomplete)),
    passes: found.passes.length,
    dark: inner.matchMedia('(prefers-color-scheme: dark)').matches,
  });
  document.body.append(result);
}
"""

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(not AXE.is_file(), reason="no axe-core (`make .venv/node/.ready`)"),
]


def framed(content: str, *, width: int, scheme: str) -> str:
    """A page that shows another one in a frame of this width, checks that one, and has the result in an element.

    The frame has the colours of the page around it. All that is folded is opened first: what nobody sees is not
    checked. The frame's own policy, which forbids all scripts, is taken away for the checker.
    """
    checker = AXE.read_text().replace("</script", "<\\/script")
    checked = POLICY.sub("", content).replace("</head>", f"<script>{checker}</script></head>", 1)
    return (
        f'<!DOCTYPE html><html lang="en" style="color-scheme: {scheme}"><title>frame</title>'
        f'<iframe id="frame" width="{width}" height="900" style="border: 0" srcdoc="{html.escape(checked)}"></iframe>'
        f"<script>{CHECK}</script></html>"
    )


def check(browse: Browse, content: str, *, width: int = DESKTOP, scheme: str = "light") -> Mapping[str, Any]:
    """What axe-core says of a page. It gets a minute of the page's own time."""
    shown, _ = browse(framed(content, width=width, scheme=scheme), "--virtual-time-budget=60000")
    result = re.search(r'<pre id="result">(.*?)</pre>', shown, re.DOTALL)
    assert result is not None, "the checker did not end"
    found: Mapping[str, Any] = json.loads(html.unescape(result[1]))
    assert found["dark"] is (scheme == "dark")
    assert found["passes"] > 10
    return found


def mistakes(found: Mapping[str, Any]) -> list[Any]:
    """Violations, and what the checker could not decide.

    It cannot tell the colour below a text of a plot: `test_html_page.py` compares the colours of the style.
    """
    unsure = [(rule, node) for rule, node in found["unsure"] if (rule, node[:5]) != ("color-contrast", "<text")]
    return [*found["violations"], *unsure]


@pytest.fixture(scope="module")
def states() -> str:
    """A report with a host of each outcome, and all that is told before the verdicts."""
    hosts = [
        make_host(
            name=f"m7i.{outcome.lower()}",
            verdict=make_verdict(
                outcome=outcome,
                reason=reason,
                sentence="what was seen",
                rungs=RUNGS,
                findings=FINDINGS,
                contradictions=("the API says otherwise",),
                unobserved=("the weather",),
                remarks=("ptp4l: not applicable",),
                remedy="try another",
            ),
            stages={Stage.PROVISION: 1.0},
            state=HostState.KEPT,
            address="10.0.0.5",
            claim=Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-01"),
        )
        for outcome, reason in REASONS.items()
    ]
    left = Resource(token="k3f9/a/1", kind="instance", name="i-1", detail="")
    record = RunRecord(
        run="k3f9",
        bench="ec2",
        started="2026-11-21",
        seconds=60,
        interrupted=True,
        hosts=tuple(hosts),
        leftovers=(left,),
        failures=("the report could not be written",),
        evidence_unsent="no network",
    )
    return render_page(record, {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_page_has_no_violation(browse: Browse, page: str, width: int, scheme: str) -> None:
    assert mistakes(check(browse, page, width=width, scheme=scheme)) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_outcome_and_no_warning_has_one(browse: Browse, states: str, scheme: str) -> None:
    assert mistakes(check(browse, states, width=PHONE, scheme=scheme)) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_comparison_has_none(browse: Browse, comparison_page: str, width: int, scheme: str) -> None:
    assert mistakes(check(browse, comparison_page, width=width, scheme=scheme)) == []


def test_a_run_without_hosts_has_none(browse: Browse) -> None:
    record = RunRecord(
        run="k3f9", bench="lab", started="2026-11-21", seconds=1, interrupted=False, hosts=(), leftovers=()
    )
    assert mistakes(check(browse, render_page(record, {}))) == []


@pytest.mark.parametrize(
    ("element", "rule"),
    [
        ('<p style="color: #aaa; background: #fff">hardly to be read</p>', "color-contrast"),
        ('<svg role="img"></svg>', "svg-img-alt"),
        ("<div role='group' tabindex='0'><img src='data:,'></div>", "image-alt"),
    ],
)
def test_a_violation_would_be_found(browse: Browse, states: str, element: str, rule: str) -> None:
    found = check(browse, states.replace("</main>", f"{element}</main>"))
    assert rule in [name for name, _ in found["violations"]]
