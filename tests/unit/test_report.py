"""The report says what the record says, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import (
    Finding,
    HostRecord,
    HostState,
    Outcome,
    Reason,
    Resource,
    Rung,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
    Verdict,
)
from harness.report import text
from harness.report.document import document
from harness.report.formats import Format, render

FINDING = Finding(
    quantity="offset_ns",
    statistic="p99_abs",
    observed=1500.0,
    comparison="<=",
    limit=1000.0,
    unit="ns",
    source="default for EC2",
    samples=60,
    held=False,
)


def host(name: str, outcome: Outcome, reason: Reason, state: HostState = HostState.RELEASED) -> HostRecord:
    verdict = Verdict(
        outcome=outcome,
        reason=reason,
        sentence=f"what was seen of {name}",
        rungs=(
            Rung(name=RungName.OFFERED, status=RungStatus.PROVEN, evidence="it runs"),
            Rung(name=RungName.WITHIN_LIMITS, status=RungStatus.FAILED, evidence="too far", reason=reason),
        ),
        findings=(FINDING,),
        contradictions=("the API says otherwise",) if outcome is Outcome.FAIL else (),
        unobserved=("the weather",),
        remarks=("ptp4l: not applicable",),
        remedy="try another" if outcome is Outcome.FAIL else None,
    )
    return HostRecord(
        name=name,
        instance_type="m7i.large",
        verdict=verdict,
        facts=None,
        stages={Stage.PROVISION: 1.25, Stage.MEASURE: 60.0},
        state=state,
        address="127.0.1.1",
    )


RECORD = RunRecord(
    run="k3f9",
    bench="lab",
    started="2026-11-21T04:00:00+00:00",
    seconds=178.4,
    interrupted=False,
    hosts=(
        host("a", Outcome.PASS, Reason.SYNCHRONISED),
        host("long-name", Outcome.FAIL, Reason.OUT_OF_LIMITS, HostState.KEPT),
    ),
    leftovers=(),
)


def test_the_table() -> None:
    assert text.summary(RECORD, report_path="runs/k3f9/report.txt") == (
        "HOST       VERDICT  WHY            EVIDENCE\n"
        "a          PASS     synchronised   what was seen of a\n"
        "long-name  FAIL     out_of_limits  what was seen of long-name\n"
        "                                   contradiction: the API says otherwise\n"
        "                                   next: try another\n"
        "released 1 of 2, verified   kept long-name   report: runs/k3f9/report.txt   2 min 58 s\n"
    )


def test_what_still_runs_is_named_with_its_removal() -> None:
    left = Resource(token="k3f9/a/1", kind="qemu", name="4711", detail="")
    record = RunRecord(
        run="k3f9", bench="lab", started="", seconds=5, interrupted=True, hosts=RECORD.hosts[:1], leftovers=(left,)
    )
    last = text.summary(record).splitlines()[-2:]
    assert last[0].endswith("5 s   interrupted")
    assert last[1] == "STILL RUNNING: qemu 4711 of k3f9/a/1; remove with `ptp-harness sweep --yes`"


def test_one_host_in_full() -> None:
    assert text.ladder(RECORD.hosts[1]).splitlines() == [
        "long-name (m7i.large): FAIL out_of_limits",
        "  what was seen of long-name",
        "  next: try another",
        "  +  offered          proven        it runs",
        "  x  within_limits    failed        too far",
        "  offset_ns p99_abs: 1500 ns <= 1000 ns BROKEN (60 samples; default for EC2)",
        "  contradiction: the API says otherwise",
        "  not observed: the weather",
        "  ptp4l: not applicable",
        "  kept; provision 1.2 s, measure 60.0 s",
    ]


def test_words_wrap_in_their_own_column() -> None:
    lines = text.summary(RECORD, width=60).splitlines()
    assert all(len(line) <= 80 for line in lines[:-1])


def test_the_document_has_the_promised_members() -> None:
    made = json.loads(json.dumps(document(RECORD)))
    assert {key: made[key] for key in ("schema", "run", "bench", "leftovers")} == {
        "schema": 1,
        "run": "k3f9",
        "bench": "lab",
        "leftovers": [],
    }
    first = made["hosts"][0]
    assert (first["name"], first["instance_type"], first["outcome"], first["reason"], first["state"]) == (
        "a", "m7i.large", "PASS", "synchronised", "released",
    )  # fmt: skip
    assert first["rungs"][0] == {"rung": "offered", "status": "proven", "evidence": "it runs", "reason": None}
    assert first["findings"][0]["observed"] == 1500.0
    assert first["stages"] == {"provision": 1.25, "measure": 60.0}
    assert first["facts"] is None


# --- its forms: each holds what the record holds, whatever a host said

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[1] / "data" / "report" / "junit.xsd")
REASONS = {
    Outcome.PASS: Reason.SYNCHRONISED,
    Outcome.FAIL: Reason.OUT_OF_LIMITS,
    Outcome.UNSUPPORTED: Reason.NO_PHC,
    Outcome.INCONCLUSIVE: Reason.UNREACHABLE,
}


def record(names: Sequence[tuple[str, Outcome]]) -> RunRecord:
    return replace(RECORD, hosts=tuple(host(name, outcome, REASONS[outcome]) for name, outcome in names))


ONE_OF_EACH = record([(f"m7i.{outcome.lower()}", outcome) for outcome in Outcome])


def test_junit_tells_every_outcome_as_pipelines_know_it() -> None:
    text = render(ONE_OF_EACH, Format.JUNIT)
    SCHEMA.validate(text)
    suite = ElementTree.fromstring(text)[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    children = {case.get("name"): case[0].tag for case in suite}
    assert children == {
        "m7i.pass": "system-out",
        "m7i.fail": "failure",
        "m7i.unsupported": "skipped",
        "m7i.inconclusive": "error",
    }
    assert suite.find("testcase/failure[@type='out_of_limits']") is not None


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from(list(Outcome))), max_size=4))
def test_whatever_a_host_said_every_form_is_well_formed(names: list[tuple[str, Outcome]]) -> None:
    said = record(names)
    SCHEMA.validate(render(said, Format.JUNIT))
    as_json = json.loads(render(said, Format.JSON))
    assert yaml.safe_load(render(said, Format.YAML)) == as_json
    assert [one["name"] for one in as_json["hosts"]] == [name for name, _ in names]
    assert render(said, Format.TEXT)


@given(st.text(alphabet="|`*_<[\\\n\r a", min_size=1))
def test_no_words_break_the_markdown_table(words: str) -> None:
    lines = render(record([(words, Outcome.FAIL)]), Format.MARKDOWN).split("\n")
    row = lines[4].replace("\\\\", "").replace("\\|", "")
    assert row.count("|") == 7
    assert lines[5] == ""


@pytest.mark.parametrize("form", Format)
def test_every_form_names_every_host_and_verdict(form: Format) -> None:
    text = render(ONE_OF_EACH, form)
    for one in ONE_OF_EACH.hosts:
        assert one.name in text
        assert one.verdict.reason.value in text
