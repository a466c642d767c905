"""Any text in gives facts or ParseError, nothing else; facts and samples turn that into Unparsed."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import probes
from harness.errors import ParseError
from harness.model import Capture, Facts, Sample, Unparsed
from harness.probes import error_bound, facts, samples
from tools.fuzz.probes import PARSERS

DATA = Path(__file__).parents[2] / "data"
REAL = [path.read_text() for path in sorted(DATA.glob("[ec]*/**/*")) if path.suffix in (".csv", ".txt")]
LINES = sorted({line for text in REAL for line in text.split("\n")})

mixed = st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=30)), max_size=12).map("\n".join)
anything = st.one_of(st.text(), mixed)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
captures = st.fixed_dictionaries(
    {"command": st.just("x"), "rc": st.none() | st.sampled_from([0, 1, 2, 16]), "out": anything}
)
NAMES = (
    *("uname", "os-release", "boot", "kernel-config", "pci", "modinfo", "module", "devlink", "ptp-class", "ptp-links"),
    *("ethtool-i/eth1", "ethtool-T/eth1", "ethtool-S/eth1", "phc-stats/0000:00:05.0", "error-bound/0000:00:05.0"),
    *("kernel-log", "driver-word", "chrony-version", "chronyc", "ntpdata", "chrony-log", "chrony-phc", "services"),
    *("ntp-probe", "phc-reads"),
)


def refusal(read: Callable[[], object]) -> ParseError | None:
    """How reading was refused; any other exception is not caught and fails the test."""
    try:
        read()
    except ParseError as refused:
        return refused
    return None


def test_every_parser_of_a_text_is_tried_with_any_text() -> None:
    """Every public function of a probe that takes a text and the name of its place."""
    names = [module.name for module in pkgutil.iter_modules(probes.__path__)]
    functions = {
        function
        for name in names
        for function in vars(importlib.import_module(f"harness.probes.{name}")).values()
        if inspect.isfunction(function) and function.__name__.startswith("parse")
    }
    parsers = {one for one in functions if [*inspect.signature(one).parameters] == ["text", "where"]}
    assert {f"{parser.__module__}.{parser.__name__}" for parser in parsers - set(PARSERS.values())} == set()


def test_there_is_real_text_to_mix() -> None:
    assert len(LINES) > 300


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@given(text=anything)
def test_a_parser_reads_or_refuses(name: str, text: str) -> None:
    refused = refusal(lambda: PARSERS[name](text, "where"))
    assert refused is None or (refused.where == "where" and refused.line_number >= 1)


@given(out=anything, rc=st.none() | st.integers(), err=anything)
def test_the_error_bound_reads_or_refuses(out: str, rc: int | None, err: str) -> None:
    capture = Capture(command="", rc=rc, out=out, err=err)
    refused = refusal(lambda: error_bound.parse(capture, "where"))
    assert refused is None or refused.where == "where"


@given(text=anything | json_values.map(json.dumps))
def test_any_text_gives_facts_and_what_was_refused(text: str) -> None:
    found, unparsed = facts.read_facts(text, where="f")
    assert isinstance(found, Facts)
    assert unparsed
    assert all(isinstance(one, Unparsed) for one in unparsed)


@given(said=st.dictionaries(st.sampled_from(NAMES), captures))
def test_any_words_of_tools_give_facts(said: dict[str, object]) -> None:
    found, unparsed = facts.read_facts(json.dumps({"schema": 1, "captures": said}), where="f")
    assert isinstance(found, Facts)
    assert all(isinstance(one, Unparsed) for one in unparsed)


members = {"chronyc": captures, "phc": json_values, "error_bound": captures, "stats": captures | st.none()}
sample_lines = st.fixed_dictionaries(
    {"kind": st.just("sample"), "seq": st.integers(0, 9), "mono_ns": st.integers(), "utc_ns": json_values},
    optional={**members},
).map(json.dumps)


@given(lines=st.lists(st.one_of(st.text(max_size=20), json_values.map(json.dumps), sample_lines), max_size=6))
def test_any_lines_give_samples_and_what_was_refused(lines: list[str]) -> None:
    found, unparsed, slots = samples.read_samples("\n".join(lines), where="s")
    assert all(isinstance(one, Sample) for one in found)
    assert all(isinstance(one, Unparsed) for one in unparsed)
    assert slots is None or slots > max((sample.slot for sample in found), default=-1)
