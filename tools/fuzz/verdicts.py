"""Fuzz the path from a host's output to a verdict, a report in every format, the ledger, and back. It must not raise.

An input is four texts, separated by zero bytes: facts, later facts, the sampler's lines, and an error's message.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from harness import ladder
from harness.analysis.plot_series import reduce_samples
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.model import Depth, Evidence, HostRecord, HostState, RunRecord
from harness.probes import facts, samples
from harness.report.formats import Format, render
from harness.store.ledger import Ledger
from harness.untrusted.plain_text import bounded, printable
from tools.fuzz import probes

LAB = Path(__file__).parents[2] / "tests" / "data" / "lab"
MOST_SAMPLES = 60
LONGEST_REPORT = 200_000
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the implementation in C, where PyYAML has it
WORDS = [
    *probes.WORDS,
    *(b"\\u001b[2J", b"\\u202e", b"{{ 7*7 }}", b"]]>", b"<script>", b"@user", b"|||", b"https://a.example/", b"\0"),
]


def seeds() -> list[bytes]:
    """Return the whole output of each recorded host of the lab."""
    inputs = []
    for folder in sorted(path for path in LAB.iterdir() if path.is_dir()):
        facts_text = (folder / "facts.json").read_text()
        later, lines = folder / "facts-final.json", folder / "samples.jsonl"
        sampled = lines.read_text().splitlines() if lines.exists() else []
        inputs.append(_input(facts_text, later.read_text() if later.exists() else "", "\n".join(sampled[:6]), ""))
    return [*inputs, _input("{}", "", "nonsense", "ssh: connect to host lab port 22: Connection refused")]


def run(data: bytes) -> None:
    """Judge a host's output and report the verdict."""
    parts = data.split(b"\0", 3) + [b""] * 4
    first, later, lines, trouble = (part.decode(errors="surrogateescape") for part in parts[:4])
    with tempfile.TemporaryDirectory(prefix="ptp-fuzz-") as folder:
        judge_and_report(first, later, lines, trouble or None, ledger_url=f"sqlite:///{folder}/ledger.sqlite")


def judge_and_report(facts_text: str, later: str, lines: str, trouble: str | None, *, ledger_url: str) -> None:
    """Judge a host's output and check the reports. Raises AssertionError when a report contradicts the verdict, or
    could harm its reader.
    """
    first_facts, refused = facts.read_facts(facts_text, where="facts.json")
    last_facts, refused_later = facts.read_facts(later, where="facts-final.json")
    observed_samples, refused_samples, slots = samples.read_samples(lines, where="samples.jsonl", most=MOST_SAMPLES)
    evidence = Evidence(
        facts=first_facts,
        final_facts=last_facts,
        samples=observed_samples,
        slots=slots,
        unparsed=refused + refused_later + refused_samples,
        trouble=None if trouble is None else bounded(trouble),
    )
    evidence = replace(evidence, rebooted=replace(evidence, facts=last_facts))
    for depth in Depth:
        verdict = ladder.judge(evidence, limits.requirements("lab"), depth=depth, read_only=False)
    host = HostRecord(
        name="lab.phc",
        instance_type="lab.phc",
        verdict=bounded(verdict, characters=2000),
        facts=last_facts,
        stages={},
        state=HostState.RELEASED,
        address=None,
        quality=compute_quality(evidence, interval_s=1.0),
    )
    reduce_samples(evidence, interval_s=1.0)
    check_reports(settled(host, ledger_url))


def settled(host: HostRecord, ledger_url: str) -> RunRecord:
    """Record a run with this host, close it, and read its record back from the ledger."""
    ledger = Ledger(ledger_url)
    try:
        run = ledger.open_run(bench="lab", campaign={}, hosts={host.name: host.instance_type})
        ledger.record_state(ledger.own_host(run, host.name).token, host)
        ledger.close_run(
            RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(host,), leftovers=())
        )
        record = ledger.record(run)
    finally:
        ledger.close()
    assert record is not None
    return record


def check_reports(record: RunRecord) -> None:
    """Check that every format holds the verdict, and that the text is short and without terminal control characters."""
    reports = {form: render(record, form) for form in Format}
    for report in reports.values():
        report.encode()
    expected = record.hosts[0].verdict.outcome
    assert json.loads(reports[Format.JSON], parse_constant=_refuse_constant)["hosts"][0]["outcome"] == expected
    assert yaml.load(reports[Format.YAML], _YAML)["hosts"][0]["outcome"] == expected
    assert reports[Format.TEXT] == printable(reports[Format.TEXT])
    assert len(reports[Format.TEXT]) < LONGEST_REPORT


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _input(*texts: str) -> bytes:
    return b"\0".join(text.encode() for text in texts)
