"""Whatever a host says is read, judged, reported in every form, booked and read again, and nothing raises.

Within 512 MiB and two seconds of computing time a case. `make soak` looks longer.
"""

import json
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import ladder
from harness.campaign import limits
from harness.model import Depth, Evidence
from harness.probes import facts, samples
from tools.fuzz.replay import MOST_CPU_S
from tools.fuzz.verdicts import judge_and_report

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
REAL_FACTS = [json.loads(path.read_text()) for path in sorted((DATA / "lab").glob("*/facts.json"))]
REAL_SAMPLES = [
    json.loads(line)
    for path in sorted((DATA / "lab").glob("*/samples.jsonl"))
    for line in path.read_text().splitlines()[:20]
]
NASTY = (
    "\x1b]52;c;cHduZWQ=\x07", "\x1b[2J", "\u202e", "\ud800", "\udcff", "\u200b", "\U000e0041", "\0", "\r\n",
    "{{ 7*7 }}", "{% raw %}", "../../x", "-oProxyCommand=id", "a\nb", "]]>", "<script>", "&amp;", "`id`", "$(id)",
    "@user", "|" * 9, "9" * 400, "1e999", "-0", "NaN", "null", "[" * 2000, '"', "\\", "ä", "時計", "0x10", "١٢٣",
)  # fmt: skip
any_text = st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)
numbers = st.sampled_from([0, -1, 1, 2**31, 2**62, 2**63 - 1, 2**63, -(2**63), 10**30, 1.5, -0.0])
scalars = st.none() | st.booleans() | numbers | any_text | st.sampled_from(NASTY)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=8
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place within JSON data."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [here, *(place for key, one in inner for place in places(one, (*here, key)))]


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The data with another value at one place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = put(value[place[0]], place[1:], new)
    return copy


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@st.composite
def spoilt(draw: st.DrawFn, real: list[Any]) -> Any:
    """Real data with a few of its places replaced, or with something put into the middle of a text."""
    value = draw(st.sampled_from(real))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(places(value)))
        old = at(value, place)
        if isinstance(old, str) and draw(st.booleans()):
            where, what = draw(st.integers(0, len(old))), draw(any_text | st.sampled_from(NASTY))
            new: Any = old[:where] + what * draw(st.sampled_from([1, 1, 2, 3000])) + old[where:]
        else:
            new = draw(values)
        if place:
            value = put(value, place, new)
    return value


def text_of(value: Any) -> str:
    return json.dumps(value)


hostile_words = any_text | st.sampled_from(NASTY)
hostile_facts = spoilt(REAL_FACTS).map(text_of) | values.map(text_of) | any_text
hostile_lines = st.lists(spoilt(REAL_SAMPLES).map(text_of) | values.map(text_of) | any_text, max_size=8).map("\n".join)


@pytest.mark.usefixtures("memory_limit")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    said=hostile_facts, later=hostile_facts, lines=hostile_lines, trouble=st.none() | any_text | st.sampled_from(NASTY)
)
def test_any_words_of_a_host_come_to_one_verdict_and_a_report_in_every_form(
    said: str, later: str, lines: str, trouble: str | None, tmp_path: Path
) -> None:
    begun_s = time.process_time()
    judge_and_report(said, later, lines, trouble, ledger_url=f"sqlite:///{tmp_path}/ledger.sqlite")
    assert time.process_time() - begun_s < MOST_CPU_S


@pytest.mark.usefixtures("memory_limit")
@pytest.mark.parametrize("count", [20_000, 2**40, 2**62])
def test_a_host_that_claims_to_have_left_out_samples_costs_nothing(count: int) -> None:
    """Three lines: the first two samples and one with any number."""
    real = [line for line in REAL_SAMPLES if line["kind"] == "sample"][:2]
    lines = [real[0] | {"seq": 0}, real[1] | {"seq": 1}, real[1] | {"seq": count}]
    taken, _, slots = samples.read_samples("\n".join(map(json.dumps, lines)), where="s", most=2**63)
    read, _ = facts.read_facts(json.dumps(REAL_FACTS[0]), where="f")
    found = Evidence(facts=read, final_facts=read, samples=taken, slots=slots)
    assert len(taken) == 3
    verdict = ladder.judge(found, limits.requirements("lab"), depth=Depth.STANDARD, read_only=False)
    assert verdict.outcome not in ("PASS",)


@pytest.mark.usefixtures("memory_limit")
def test_a_million_lines_that_nobody_understands_are_a_count() -> None:
    taken, refused, _ = samples.read_samples("nonsense\n" * 1_000_000, where="s")
    assert (taken, len(refused)) == ((), 100)
    verdict = ladder.judge(
        Evidence(unparsed=refused), limits.requirements("lab"), depth=Depth.STANDARD, read_only=False
    )
    assert verdict.unobserved[-1] == "and 999980 more lines that were not understood"


@pytest.mark.parametrize("name", ["uname", "os-release", "driver-word", "chrony-phc", "kernel-log", "services"])
def test_a_megabyte_in_one_word_of_a_tool_is_cut_where_it_becomes_a_fact(name: str) -> None:
    said = json.loads(json.dumps(REAL_FACTS[0]))
    capture = said["captures"].setdefault(name, {"command": "x", "rc": 0, "out": "", "err": ""})
    capture["out"] = capture["out"].replace("PHC", "PHC" + "x" * 1_000_000) + string.ascii_letters * 20_000
    read, refused = facts.read_facts(json.dumps(said), where="f")
    assert len(repr(read)) < 60_000
    assert len(repr(refused)) < 60_000
