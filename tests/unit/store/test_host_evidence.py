"""The evidence of a host is read back as it was: what it was made of stays judgeable, also by a later version."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RequestError
from harness.model import (
    Claim,
    Evidence,
    Launch,
    Offer,
    Outcome,
    Placement,
    Reach,
    Reason,
)
from harness.model.disturbances import Disturbance, DisturbanceWindow
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.store import host_evidence
from harness.store.evidence_folder import EvidenceFolder
from tests.doubles.records import make_host, make_verdict

LAB = Path(__file__).parents[2] / "data" / "lab"
MEASURED = ("drifting", "driver-off", "flaky-reads", "misled-chronyd")

UNKNOWN = make_host(verdict=make_verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.NOT_OBSERVED))


def observe(folder: Path, source: str, prefix: str = "") -> Evidence:
    """Copy the raw outputs of a recorded host into a folder; its evidence as a run collects it."""
    for path in (LAB / source).iterdir():
        shutil.copy(path, folder / (prefix + path.name))
    facts, refused = read_facts((LAB / source / "facts.json").read_text(), where=f"{prefix}facts.json")
    final, refused_later = read_facts(
        (LAB / source / "facts-final.json").read_text(), where=f"{prefix}facts-final.json"
    )
    samples, refused_samples, slots = read_samples(
        (LAB / source / "samples.jsonl").read_text(), where=f"{prefix}samples.jsonl"
    )
    return Evidence(
        offer=Offer(available=True, where="this machine"),
        claim=Claim(phc_supported=True, source="the lab", date="2026-11-29"),
        launch=Launch(failure=None, detail="it runs"),
        reach=Reach(reached=True, tries=2, detail=""),
        placement=Placement(precise=None, detail="unknown"),
        facts=facts,
        samples=samples,
        slots=slots,
        final_facts=final,
        unparsed=refused + refused_samples + refused_later,
    )


def read_back(folder: Path, evidence: Evidence) -> Evidence:
    host_evidence.write_evidence(EvidenceFolder(folder), evidence)
    return host_evidence.read_evidence(folder, UNKNOWN, most_samples=60)


@pytest.mark.parametrize("source", MEASURED)
def test_a_measured_host_is_read_back_as_it_was(tmp_path: Path, source: str) -> None:
    evidence = observe(tmp_path, source)
    assert evidence.samples
    assert read_back(tmp_path, evidence) == evidence


def test_a_host_with_lines_that_nobody_understood_is_read_back(tmp_path: Path) -> None:
    evidence = observe(tmp_path, "drifting")
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write("nonsense\n")
    found = read_back(tmp_path, evidence)
    assert [line.line for line in found.unparsed] == ["nonsense"]


def test_a_rebooted_host_is_read_back_with_both_halves(tmp_path: Path) -> None:
    rebooted = replace(observe(tmp_path, "flaky-reads", host_evidence.PARTS["rebooted"]), claim=None)
    evidence = replace(observe(tmp_path, "drifting"), rebooted=rebooted)
    assert read_back(tmp_path, evidence) == evidence


def test_a_disturbed_host_is_read_back_with_its_disturbances(tmp_path: Path) -> None:
    """The slots of the marks follow from the boots in the samples, which are longer than the measurement."""
    head = {"kind": "start", "schema": 3, "boot_id": "b", "interval_s": 1.0, "slot": 0, "mono_ns": 0, "raw_ns": 0}
    recorded = (LAB / "drifting" / "samples.jsonl").read_text().splitlines()
    sample = json.loads(recorded[1])
    lines = [head, *({**sample, "slot": slot, "mono_ns": slot * 10**9} for slot in range(200))]
    lines.append({"kind": "end", "samples": 200, "slots": 200, "reason": "stopped"})
    mark = {"name": "cpu-load", "boot_id": "b"}
    marks = [{**mark, "kind": "begun", "mono_ns": 100 * 10**9}, {**mark, "kind": "ended", "mono_ns": 160 * 10**9}]
    for name, objects in (("samples", lines), ("marks", marks)):
        text = "".join(json.dumps(line) + "\n" for line in objects)
        (tmp_path / f"disturbed-{name}.jsonl").write_text(text)
    window = DisturbanceWindow(disturbance=Disturbance.CPU_LOAD, begun=100, ended=160)
    samples, _, slots = read_samples((tmp_path / "disturbed-samples.jsonl").read_text(), where="")
    disturbed = Evidence(samples=samples, slots=slots, disturbances=(window,))
    evidence = replace(observe(tmp_path, "drifting"), disturbed=disturbed)
    assert read_back(tmp_path, evidence) == evidence


def test_a_second_look_is_read_back_beside_the_first(tmp_path: Path) -> None:
    evidence = observe(tmp_path, "drifting")
    shutil.copy(LAB / "flaky-reads" / "facts.json", tmp_path / "facts-again.json")
    again, _ = read_facts((tmp_path / "facts-again.json").read_text(), where="facts-again.json")
    twice = replace(evidence, facts=again, first_facts=evidence.facts)
    assert read_back(tmp_path, twice) == twice


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": "the host was lost in measure.yml: no answer"},
        {"trouble": "x\x1b[2J", "trouble_reason": Reason.HOST_NOT_READY, "trouble_remedy": "wait"},
        {"interrupted": True, "interrupted_while": "being measured, after 3 s"},
        {"launch": Launch(failure=Reason.CAPACITY, detail="no room")},
        {"read_only_files": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_went_wrong_is_read_back_without_any_output(tmp_path: Path, changes: dict[str, Any]) -> None:
    evidence = replace(Evidence(offer=Offer(available=True, where="here")), **changes)
    assert read_back(tmp_path, evidence) == evidence


def test_outputs_of_an_earlier_attempt_are_not_taken_for_those_of_the_last(tmp_path: Path) -> None:
    observe(tmp_path, "drifting")
    failed = Evidence(launch=Launch(failure=Reason.CAPACITY, detail="no room"))
    assert read_back(tmp_path, failed) == failed


# --- what is damaged, or of another version --------------------------------------------------------------------------


def test_a_missing_output_is_named(tmp_path: Path) -> None:
    evidence = observe(tmp_path, "drifting")
    (tmp_path / "samples.jsonl").unlink()
    with pytest.raises(RequestError, match=r"samples\.jsonl is missing: the host cannot be judged without it"):
        read_back(tmp_path, evidence)


def test_a_link_to_another_place_is_no_output(tmp_path: Path) -> None:
    evidence = observe(tmp_path, "drifting")
    (tmp_path / "facts.json").unlink()
    (tmp_path / "facts.json").symlink_to(LAB / "drifting" / "facts.json")
    with pytest.raises(RequestError, match=r"facts\.json is missing"):
        read_back(tmp_path, evidence)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": 1}', '{"schema": "x", "outputs": {}}', '{"schema": 1, "outputs": 3}',
     '{"schema": 1, "outputs": {"facts": 7}}', '{"schema": 1, "outputs": {}, "offer": {"available": "maybe"}}',
     '{"schema": 1, "outputs": {"facts": "../../etc/passwd"}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "evidence.json").write_text(text)
    with pytest.raises(RequestError, match=str(tmp_path)):
        host_evidence.read_evidence(tmp_path, UNKNOWN, most_samples=60)


def test_a_file_of_a_later_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text(json.dumps({"schema": 2, "outputs": {}}))
    with pytest.raises(RequestError, match="written by a later version") as refused:
        host_evidence.read_evidence(tmp_path, UNKNOWN, most_samples=60)
    assert refused.value.next_step == "judge it with that version"


def test_plots_are_read_back_and_those_of_another_version_are_not(tmp_path: Path) -> None:
    from harness.analysis.plot_series import reduce_samples

    plots = reduce_samples(observe(tmp_path, "drifting"), interval_s=1.0)
    assert plots is not None
    host_evidence.write_plots(EvidenceFolder(tmp_path), plots)
    assert host_evidence.read_plots(tmp_path) == plots
    host_evidence.write_plots(EvidenceFolder(tmp_path), replace(plots, definition=plots.definition + 1))
    assert host_evidence.read_plots(tmp_path) is None
    host_evidence.write_plots(EvidenceFolder(tmp_path), None)
    assert not (tmp_path / "plots.json").exists()
    (tmp_path / "plots.json").write_text("{")
    assert host_evidence.read_plots(tmp_path) is None
    assert host_evidence.read_plots(tmp_path / "nowhere") is None
