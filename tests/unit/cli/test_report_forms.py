"""One command gives several forms of a report; their files are looked at before the run begins."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from harness import __version__
from harness.analysis.plot_series import reduce_samples
from harness.model import Evidence, Outcome
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.formats import Format
from harness.store import host_evidence
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(call: Call) -> Call:
    return call


def test_several_forms_of_one_report(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    done = call("report", "3a5r", "--format", "json=r.json", "-f", "junit=r.xml", "--format", "markdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Run 3a5r on lab")
    assert json.loads((tmp_path / "r.json").read_text())["run"] == "3a5r"
    assert ElementTree.parse(tmp_path / "r.xml").getroot().tag == "testsuites"


def test_a_run_writes_several_forms(call: Call, tmp_path: Path) -> None:
    """The host is one that nobody can log in to, as its key is not known: a whole run without a guest."""
    (tmp_path / "hosts.yaml").write_text("all: {hosts: {mine: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    command = ["run", "--inventory", "hosts.yaml", "all", "--read-only", "--duration", "30s"]
    done = call(*command, "--format", "json=r.json", "--format", "junit=r.xml", "--format", "html=r.html")
    assert (done.returncode, done.stdout) == (3, "")
    assert "INCONCLUSIVE" in done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    keys = ("version", "outcome", "exit_code", "depth", "measure")
    assert {key: report[key] for key in keys} == {
        "version": __version__,
        "outcome": "INCONCLUSIVE",
        "exit_code": 3,
        "depth": "standard",
        "measure": {"duration_s": 30.0, "interval_s": 1.0},
    }
    (case,) = ElementTree.parse(tmp_path / "r.xml").getroot().iter("testcase")
    assert "the host key of" in (case.findtext("error") or "")
    assert "How good this clock is was not measured" in (tmp_path / "r.html").read_text()
    (line,) = json.loads(call("runs", "--json").stdout)
    stored = tmp_path / "state" / "runs" / line["run"] / "report.json"
    assert json.loads(stored.read_text()) == report
    assert json.loads(call("report", "last", "--json").stdout) == report


LAB = Path(__file__).parents[2] / "data" / "lab" / "drifting"


def test_the_page_has_the_plots_of_hosts_whose_evidence_is_here(
    call: Call, record_run: Callable[..., str], tmp_path: Path
) -> None:
    run = record_run({"lab.drifting": Outcome.PASS, "lab.phc": Outcome.PASS})
    folder = tmp_path / "state" / "runs" / run / "lab.drifting"
    shutil.copytree(LAB, folder)
    facts, _ = read_facts((LAB / "facts.json").read_text(), where="facts.json")
    samples, _, slots = read_samples((LAB / "samples.jsonl").read_text(), where="samples.jsonl")
    plots = reduce_samples(Evidence(facts=facts, samples=samples, slots=slots), interval_s=1.0)
    assert plots is not None
    host_evidence.write_plots(EvidenceFolder(folder), plots)
    done = call("report", run, "--format", "html=r.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert "warning: plots are left out: the evidence of lab.phc is not on this machine" in done.stderr
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "lab.drifting: Offset over time" in page
    assert "lab.phc: Offset over time" not in page
    assert call("report", run, "--format", "html").stdout == page


def test_an_evidence_store_that_fails_leaves_a_page_without_plots(
    call: Call, record_run: Callable[..., str], tmp_path: Path
) -> None:
    run = record_run({"lab.phc": Outcome.PASS})
    (tmp_path / "store").mkdir()
    done = call("report", run, "-f", "html=r.html", PTP_HARNESS_EVIDENCE_URL=f"file://{tmp_path}/store")
    assert done.returncode == 0
    assert f"warning: plots are left out: the evidence of run {run} is not whole" in done.stderr
    assert "lab.phc" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        (["xml"], f"--format 'xml' is not one of {', '.join(Format)}"),
        (["jnit=r.xml"], "(did you mean junit?)"),
        (["json", "junit"], "standard output takes one form, not json and junit"),
        (["json="], "--format 'json=' names no file"),
        (["json=r", "junit=./r"], "--format names the file r twice"),
        (["json=nowhere/r.json"], "for the report r.json"),
        (["json=."], "is a folder, not a file for a report"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("verb", [["run", "lab.phc"], ["report", "3a5r"]], ids=lambda verb: verb[0])
def test_a_form_that_cannot_be_written_is_refused_before_anything_is_done(
    call: Call, ledger: Ledger, verb: list[str], forms: list[str], message: str
) -> None:
    done = call(*verb, *(word for form in forms for word in ("--format", form)))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "next: " in done.stderr
    assert [line.run for line in ledger.runs()] == ["3a5r"]


def test_junit_has_bodies_and_says_what_was_measured(call: Call, ledger: Ledger) -> None:
    root = ElementTree.fromstring(call("report", "3a5r", "--format", "junit").stdout)
    cases = {case.get("name"): case for case in root.iter("testcase")}
    failure = cases["lab.drifting"].findtext("failure") or ""
    assert failure.splitlines()[0] == "lab.drifting: FAIL out_of_limits"
    assert "BROKEN" in failure
    assert "lab.no-phc: UNSUPPORTED no_phc" in (cases["lab.no-phc"].findtext("skipped") or "")
    assert "lab.phc: PASS synchronised" in (cases["lab.phc"].findtext("system-out") or "")
    properties = {one.get("name"): one.get("value") for one in cases["lab.phc"].iter("property")}
    assert {"outcome", "instance_type", "kernel", "driver", "driver_version", "chrony_version"} <= properties.keys()
    assert (properties["outcome"], properties["driver"]) == ("PASS", "ena")


def test_the_schema_is_printed_without_a_run_and_a_report_of_the_ledger_satisfies_it(
    call: Call, ledger: Ledger
) -> None:
    done = call("report", "--schema")
    assert (done.returncode, done.stderr) == (0, "")
    validator = jsonschema.Draft202012Validator(json.loads(done.stdout))
    report = json.loads(call("report", "3a5r", "--json").stdout)
    validator.validate(report)
    assert not validator.is_valid(report | {"hosts": "none"})
