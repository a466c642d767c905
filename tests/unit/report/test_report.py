"""The report says what the record says, and nothing else."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.benches.bench import InstanceType
from harness.campaign import campaign, run_plan
from harness.model import (
    Clock,
    Evidence,
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
from harness.model.cloud import PriceTerms
from harness.report import junit, start_line, text
from harness.report.document import document
from harness.report.formats import Format, render
from harness.untrusted.plain_text import printable

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
        "  HOST       TYPE       ADDRESS    ZONE  CLOCK\n"
        "  long-name  m7i.large  127.0.1.1  -     -\n"
        "enter one: ptp-harness ssh k3f9 HOST   remove them: ptp-harness release k3f9\n"
    )


def test_where_a_host_is_and_its_clocks(good: Evidence) -> None:
    assert good.facts is not None
    clocks = tuple(
        Clock(device=device, name=f"ena-ptp-0{number}", pci=None, max_adjustment_ppb=0)
        for number, device in enumerate(("ptp0", "ptp1"))
    )
    here = replace(RECORD.hosts[0], facts=replace(good.facts, clocks=clocks), zone="eu-north-1a")
    assert text.describe_places([here, RECORD.hosts[1]]) == [
        "HOST       TYPE       ADDRESS    ZONE         CLOCK",
        "a          m7i.large  127.0.1.1  eu-north-1a  /dev/ptp0 ena-ptp-00, /dev/ptp1 ena-ptp-01",
        "long-name  m7i.large  127.0.1.1  -            -",
    ]


def test_own_hosts_are_neither_kept_nor_released() -> None:
    closing = text.summary(replace(RECORD, bench="hosts")).splitlines()[-1]
    assert closing == "no host made or removed   2 min 58 s"


def test_what_became_of_every_host_is_said() -> None:
    hosts = [
        host(name, Outcome.PASS, Reason.SYNCHRONISED, state)
        for name, state in (("a", HostState.RELEASED), ("b", HostState.KEPT), ("c", HostState.FAILED))
    ]
    said = text.summary(replace(RECORD, hosts=tuple(hosts)))
    assert "released 1 of 3, verified   kept b   NOT RELEASED c   2 min 58 s\n" in said


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
        "  offset_ns p99_abs: 1.5 us <= 1 us BROKEN (60 samples; default for EC2)",
        "  contradiction: the API says otherwise",
        "  not observed: the weather",
        "  ptp4l: not applicable",
        "  kept; provision 1.2 s, measure 60.0 s",
    ]


def test_how_often_a_cloud_was_asked_is_said_where_one_was() -> None:
    asked = replace(RECORD, hosts=(replace(RECORD.hosts[0], api_calls=8.3),), api_calls=47)
    assert text.ladder(asked.hosts[0]).endswith("measure 60.0 s; 8.3 API calls\n")
    assert text.summary(asked).endswith("2 min 58 s   47 API calls\n")
    for record, calls in ((asked, (47, 8.3)), (RECORD, (None, None))):
        made = document(record)
        assert (made["api_calls"], made["hosts"][0]["api_calls"]) == calls
    assert "API calls" not in text.summary(RECORD) + text.ladder(RECORD.hosts[0])


def test_the_cost_is_said_where_every_price_is_known() -> None:
    first, second = (replace(one, cost_usd=cost) for one, cost in zip(RECORD.hosts, (0.0123, 0.002), strict=True))
    never_ran = replace(second, address=None, cost_usd=None)
    unpriced = replace(second, cost_usd=None)
    assert replace(RECORD, hosts=(first, second)).cost_usd == pytest.approx(0.0143)
    assert replace(RECORD, hosts=(first, never_ran)).cost_usd == 0.0123
    assert [replace(RECORD, hosts=hosts).cost_usd for hosts in ((first, unpriced), (never_ran,))] == [None, None]
    assert "2 min 58 s   about $0.01\n" in text.summary(replace(RECORD, hosts=(first, second)))
    assert "$" not in text.summary(RECORD)
    assert document(replace(RECORD, hosts=(first,)))["hosts"][0]["cost_usd"] == 0.0123
    assert document(RECORD)["cost_usd"] is None


NOW = datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
TERMS = PriceTerms(
    images=("al2023-ami-2023.9 (ami-0f1e)",),
    placement="placement precision-time",
    usd_per_hour={"lab.phc": 0.1, "lab.drifting": 0.11},
    longest_life_s=7200.0,
)


@pytest.mark.parametrize(
    ("types", "parallel", "terms", "said"),
    [
        (
            ("lab.phc", "lab.drifting"),
            2,
            TERMS,
            "run k3f9: 2 hosts, al2023-ami-2023.9 (ami-0f1e), placement precision-time, at most $0.42, "
            "every host off by 14:05 at the latest",
        ),
        (
            ("lab.phc",) * 7,
            1,
            replace(TERMS, images=(), usd_per_hour={}),
            "run k3f9: 7 hosts, placement precision-time, cost unknown (`ptp-harness plan` asks for prices), "
            "every host off by 2026-11-22 02:05 at the latest",
        ),
        (
            ("lab.phc", "lab.no-phc"),
            2,
            replace(TERMS, images=("a", "b")),
            "run k3f9: 2 hosts, a and b, placement precision-time, cost unknown (`ptp-harness plan` asks for prices), "
            "every host off by 14:05 at the latest",
        ),
    ],
)
def test_what_is_said_before_a_run(types: tuple[str, ...], parallel: int, terms: PriceTerms, said: str) -> None:
    known = {name: InstanceType(name=name, summary="") for name in types}
    asked = campaign.from_mapping({"instance_types": types, "parallel": parallel, "lease": "2h"})
    assert start_line.line("k3f9", run_plan.make_plan(asked, known, now=NOW), terms, NOW) == said


def test_what_a_host_said_steers_no_terminal() -> None:
    said = replace(RECORD.hosts[1].verdict, sentence="a\x1b[2Jb\rc\x9bd", remedy="e\x07")
    one = replace(RECORD.hosts[1], verdict=said)
    assert "  a\\x1b[2Jb c\\x9bd\n  next: e\\x07\n" in text.ladder(one)
    for shown in (text.ladder(one), text.summary(replace(RECORD, hosts=(one,)))):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


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

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[2] / "data" / "report" / "junit.xsd")
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
    children = {case.get("name"): case[1].tag for case in suite}
    assert children == {
        "m7i.pass": "system-out",
        "m7i.fail": "failure",
        "m7i.unsupported": "skipped",
        "m7i.inconclusive": "error",
    }
    assert suite.find("testcase/failure[@type='out_of_limits']") is not None


def test_a_host_that_was_begun_anew_is_flaky_unless_its_clock_failed() -> None:
    """A fault of the infrastructure is told, and is no fault of a clock; a clock's failure is never a flaky one."""
    again = replace(ONE_OF_EACH, hosts=tuple(replace(each, attempt=3) for each in ONE_OF_EACH.hosts))
    written = render(again, Format.JUNIT)
    SCHEMA.validate(written)
    cases = {case.get("name"): case for case in ElementTree.fromstring(written)[0]}
    flaky = {name: [each.get("message") for each in case.findall("flakyError")] for name, case in cases.items()}
    why = "brought no verdict: the process that worked on the host ended, or gave it back"
    both = [f"attempt 1 of 3 {why}", f"attempt 2 of 3 {why}"]
    assert flaky == {"m7i.pass": both, "m7i.unsupported": both, "m7i.fail": [], "m7i.inconclusive": []}
    assert all(case.find("properties/property[@name='attempts']") is not None for case in cases.values())
    assert "begun anew, since the infrastructure failed: m7i.pass (3 attempts)" in text.summary(again)
    assert [each["attempts"] for each in document(again)["hosts"]] == [3, 3, 3, 3]
    assert "begun anew" not in text.summary(ONE_OF_EACH)
    assert "flakyError" not in render(ONE_OF_EACH, Format.JUNIT)


@pytest.mark.slow
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


CALLS = re.compile(r"@\w|\w@|://|(?i:www\.|\bgh-[0-9]|mailto:|xmpp:)|#[0-9]")
"""What GitHub makes mentions, links and references of, within one piece of a page's text (GFM, 6.9)."""


class Pieces(HTMLParser):
    """The pieces of text of a page, without those of code, and the elements that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pieces, self.elements, self._code = list[str](), set[str](), 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)
        self._code += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "pre"

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.pieces.append(data)


PIECES = (
    "@ada", "a@example.org", "https://x.example", "www.x.example", "WWW.x", "#12", "GH-3", "mailto:a", "~~x~~", "<b>",
    "<!--", "-->", "&#64;", "[a](b)", "![a](b)", "http&#58;//x", "*", "_x_", ">", "#", "-", "|", "\\", "\\@",
    "@@a", "`@a`",
)  # fmt: skip
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
OURS = {"h1", "p", "strong", "code", "span", "details", "summary", "pre", *TABLE}


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(PIECES) | st.text(alphabet="@:/w.#<>&;[]()!~*_`|\\a1 \n", max_size=8),
        max_size=6,
    ).map(" ".join)
)
@example("@ada https://x.example www.x.example #12")
def test_no_words_become_markup_mentions_or_links_in_markdown(words: str) -> None:
    made = replace(record([("a", Outcome.FAIL)]), leftovers=(Resource(token=words, kind="k", name=words, detail=""),))
    one = made.hosts[0]
    made = replace(made, hosts=(replace(one, verdict=replace(one.verdict, sentence=words, remedy=words)),))
    page = Pieces(MarkdownIt("commonmark").enable("table").render(render(made, Format.MARKDOWN)))
    assert [piece for piece in page.pieces if CALLS.search(piece)] == []
    assert page.elements <= OURS
    assert " ".join(words.split()) in " ".join("".join(page.pieces).split())


# --- complete: what a run's record says of a host is in every form, whatever it says

said = st.text(max_size=30)
name = st.text(alphabet="abcxyz0123456789.-", min_size=1, max_size=30)
verdicts = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    reason=st.sampled_from(Reason),
    sentence=said,
    rungs=st.lists(
        st.builds(Rung, name=st.sampled_from(RungName), status=st.sampled_from(RungStatus), evidence=said), max_size=3
    ).map(tuple),
    findings=st.sampled_from([(), (FINDING,)]),
    contradictions=st.lists(said, max_size=2).map(tuple),
    unobserved=st.lists(said, max_size=2).map(tuple),
    remarks=st.lists(said, max_size=2).map(tuple),
    remedy=st.none() | said,
)
host_records = st.builds(
    HostRecord,
    name=name,
    instance_type=name,
    verdict=verdicts,
    facts=st.none(),
    stages=st.dictionaries(st.sampled_from(Stage), st.floats(0, 9999), max_size=3),
    state=st.sampled_from(HostState),
    address=st.none() | st.just("127.0.1.1"),
    zone=st.none() | name,
)
run_records = st.lists(host_records, max_size=4).map(lambda hosts: replace(RECORD, hosts=tuple(hosts)))


def bare(words: str) -> str:
    """As it is shown, without white space, which wrapping changes, and without what XML cannot write."""
    return "".join(junit.xml_text(printable(words)).replace("\N{REPLACEMENT CHARACTER}", "").split())


def told(verdict: Verdict) -> list[str]:
    """What every form shows of a verdict."""
    return [verdict.outcome, verdict.reason, verdict.sentence, *verdict.contradictions, verdict.remedy or ""]


def in_full(one: HostRecord) -> list[str]:
    """What those forms show that hold each host's ladder."""
    verdict = one.verdict
    rungs = [words for rung in verdict.rungs for words in (rung.name, rung.status, rung.evidence)]
    findings = [words for finding in verdict.findings for words in (finding.quantity, finding.source)]
    more = [*rungs, *findings, *verdict.unobserved, *verdict.remarks, *one.stages]
    return [one.name, one.instance_type, one.state, *told(verdict), *more]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(run_records)
def test_text_is_complete(made: RunRecord) -> None:
    shown = text.summary(made)
    everything = bare(shown)
    for one in made.hosts:
        assert all(bare(words) in everything for words in [one.name, *told(one.verdict)])
    closing = next(line for line in shown.splitlines() if line.startswith("released "))
    states = {state: [one.name for one in made.hosts if one.state is state] for state in HostState}
    assert f"released {len(states[HostState.RELEASED])} of {len(made.hosts)}" in closing
    assert f"kept {', '.join(states[HostState.KEPT]) or 'none'}" in closing
    assert ("NOT RELEASED" in closing) == bool(states[HostState.FAILED])
    assert all(one in closing for one in states[HostState.FAILED])
    for one in made.hosts:
        if one.state is HostState.KEPT:
            assert text.describe_places([one])[1].split() == [
                one.name, one.instance_type, one.address or "-", one.zone or "-", "-",
            ]  # fmt: skip
            assert (one.zone or "-") in shown


@settings(max_examples=150, deadline=None)
@given(host_records)
def test_a_ladder_is_complete(one: HostRecord) -> None:
    shown = bare(text.ladder(one))
    assert [words for words in in_full(one) if bare(words) not in shown] == []


@settings(max_examples=150, deadline=None)
@given(run_records)
def test_junit_is_complete(made: RunRecord) -> None:
    written = render(made, Format.JUNIT)
    SCHEMA.validate(written)
    cases = ElementTree.fromstring(written).findall("testsuite/testcase")
    for one, case in zip(made.hosts, cases, strict=True):
        shown = bare("".join([*case.attrib.values(), *(case.findtext("system-out") or "")]))
        assert [words for words in in_full(one) if bare(words) not in shown] == []
        results = [child for child in case if child.tag not in ("properties", "system-out")]
        assert [child.get("type") for child in results] == [one.verdict.reason] * (one.verdict.outcome != "PASS")
        assert all(bare(one.verdict.sentence) in bare(child.get("message") or "") for child in results)


@settings(max_examples=150, deadline=None)
@given(run_records)
def test_markdown_is_complete(made: RunRecord) -> None:
    lines = render(made, Format.MARKDOWN).split("\n")
    rows = lines[4 : 4 + len(made.hosts)]
    for one, row in zip(made.hosts, rows, strict=True):
        shown = bare(re.sub(r"\\(.)", r"\1", re.sub("</?span>", "", row)))
        assert [words for words in [one.name, one.state, *told(one.verdict)] if bare(words) not in shown] == []
    folded = bare("\n".join(lines[4 + len(made.hosts) :]))
    assert [words for one in made.hosts for words in in_full(one) if bare(words) not in folded] == []


@settings(max_examples=60, deadline=None)
@given(run_records)
def test_html_is_complete(made: RunRecord) -> None:
    """The page writes the states of rungs in words: `not observed`."""
    shown = bare("".join(Pieces(render(made, Format.HTML)).pieces)).replace("_", "")
    assert [words for one in made.hosts for words in in_full(one) if bare(words).replace("_", "") not in shown] == []


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(run_records)
def test_json_and_yaml_hold_everything(made: RunRecord) -> None:
    as_json = json.loads(render(made, Format.JSON))
    assert yaml.safe_load(render(made, Format.YAML)) == as_json
    for one, shown in zip(made.hosts, as_json["hosts"], strict=True):
        verdict = one.verdict
        own = ("name", "instance_type", "state", "address", "zone", "region", "image", "claim")
        assert {key: shown[key] for key in own} == {
            "name": one.name, "instance_type": one.instance_type, "state": one.state,
            "address": one.address, "zone": one.zone, "region": one.region, "image": one.image,
            "claim": one.claim and asdict(one.claim),
        }  # fmt: skip
        for key in ("outcome", "reason", "sentence", "remedy"):
            assert shown[key] == getattr(verdict, key)
        for key in ("contradictions", "unobserved", "remarks"):
            assert shown[key] == list(getattr(verdict, key))
        assert [(rung["rung"], rung["status"], rung["evidence"]) for rung in shown["rungs"]] == [
            (rung.name, rung.status, rung.evidence) for rung in verdict.rungs
        ]
        assert [finding["observed"] for finding in shown["findings"]] == [one.observed for one in verdict.findings]
        assert shown["stages"] == dict(one.stages)


@pytest.mark.parametrize("form", Format)
def test_every_form_names_every_host_and_verdict(form: Format) -> None:
    text = render(ONE_OF_EACH, form)
    for one in ONE_OF_EACH.hosts:
        assert one.name in text
        assert one.verdict.reason.value in text
