"""Does the evidence have the reason and the remedy that a failed play gives, and the samples that were taken?"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from harness.campaign import campaign
from harness.host import sampling
from harness.host.playbooks import PlayOutcome, PlayResult
from harness.model import Reason, Token
from harness.probes.samples import SampleReader
from harness.runs import evidence_collector
from harness.runs.evidence_collector import EXPLAINING_TASKS, EvidenceCollector, describe_failure
from harness.runs.release_failures import ReleaseFailures
from harness.store import parsed_samples
from harness.store.evidence_folder import EvidenceFolder

ROOT = Path(__file__).parents[3]
PACKAGES, LACKS = "Say why packages could not be installed", "Say what the host lacks"


def failed(task: str, msg: str, outcome: PlayOutcome = PlayOutcome.FAILED) -> PlayResult:
    return PlayResult(
        outcome=outcome, message=f"task {task!r}: {msg[-300:]}", changed=0, tasks_on_wire=1, seconds=1.0,
        task_seconds=(), stdout="", results={task: {"msg": msg}}, failed_task=task,
    )  # fmt: skip


@pytest.mark.parametrize(("task", "reason"), [(PACKAGES, Reason.PACKAGES_UNAVAILABLE), (LACKS, Reason.HOST_NOT_READY)])
def test_a_task_that_explains_a_failure_gives_reason_and_remedy(task: str, reason: Reason) -> None:
    assert describe_failure("configure.yml", failed(task, "no chrony (apt: a; next: b); next: mend it")) == {
        "trouble": "no chrony (apt: a; next: b)",
        "trouble_reason": reason,
        "trouble_remedy": "mend it",
    }


def test_an_explanation_without_a_remedy_is_the_cause() -> None:
    assert describe_failure("configure.yml", failed(PACKAGES, "no chrony")) == {
        "trouble": "no chrony",
        "trouble_reason": Reason.PACKAGES_UNAVAILABLE,
        "trouble_remedy": None,
    }


def test_what_a_host_says_is_bounded() -> None:
    described = describe_failure("configure.yml", failed(PACKAGES, "x" * 10**6 + "; next: " + "y" * 10**6))
    assert len(described["trouble"]) + len(described["trouble_remedy"]) < 2100


def test_a_sudo_that_asks_for_a_password_is_a_lack_of_the_host() -> None:
    described = describe_failure("observe.yml", failed("Collect clock facts", "Task failed: Missing sudo password"))
    assert (described["trouble_reason"], "NOPASSWD" in described["trouble_remedy"]) == (Reason.HOST_NOT_READY, True)


@pytest.mark.parametrize("outcome", [PlayOutcome.FAILED, PlayOutcome.TIMED_OUT])
def test_any_other_failure_is_told_as_it_is(outcome: PlayOutcome) -> None:
    task = "Let chrony follow the clock" if outcome is PlayOutcome.FAILED else PACKAGES
    assert describe_failure("configure.yml", failed(task, "no; next: x", outcome)) == {
        "trouble": f"configure.yml: task {task!r}: no; next: x"
    }


def test_the_tasks_that_explain_are_in_the_playbooks() -> None:
    texts = [path.read_text() for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")]
    assert [task for task in EXPLAINING_TASKS if not any(f"- name: {task}\n" in text for text in texts)] == []


# --- facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty_answers", [0, 1, 2])
def test_a_look_at_the_host_that_brought_nothing_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_answers: int
) -> None:
    asked, facts = tmp_path / "asked", ROOT / "tests/data/lab/drifting/facts.json"
    command = f"cat >/dev/null; echo x >>{asked}; [ $(wc -l <{asked}) -le {empty_answers} ] || cat {facts}"
    monkeypatch.setattr(evidence_collector, "role_variables", lambda _machine: {})
    settings = SimpleNamespace(assets_dir=ROOT)
    context: Any = SimpleNamespace(folder=EvidenceFolder(tmp_path / "kept"), settings=settings)
    collector = EvidenceCollector(Token(run="k3f9", host="a"), context, SimpleNamespace(pause=None))  # type: ignore[arg-type]
    target: Any = SimpleNamespace(machine=None, as_root=lambda *_argv: ["sh", "-c", command])
    found = collector.collect_facts(target, "facts-final.json", "the closing look at the host")
    assert found is not None
    assert (found.competitors is None) == (empty_answers == 2), "what was not seen is not observed"
    assert len(asked.read_text().split()) == min(empty_answers + 1, 2)


# --- samples ----------------------------------------------------------------------------------------------------------


def follow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[EvidenceCollector, ReleaseFailures]:
    """Collect the samples of a recorded host, which arrive in two parts, also after a reboot."""
    lines = (ROOT / "tests/data/lab/drifting/samples.jsonl").read_bytes().splitlines(keepends=True)

    def send(_target: Any, _path: str, reader: SampleReader, file: BinaryIO, **_settings: Any) -> None:
        for part in (lines[:7], lines[7:]):
            file.write(b"".join(part))
            for line in part:
                reader.read_line(line.decode().removesuffix("\n"))

    monkeypatch.setattr(sampling, "follow_samples", send)
    asked = campaign.from_mapping({"instance_types": ("lab.phc",), "measure": {"duration": "60s"}})
    failures = ReleaseFailures()
    context: Any = SimpleNamespace(folder=EvidenceFolder(folder), campaign=asked, failures=failures)
    collector = EvidenceCollector(Token(run="k3f9", host="a"), context, SimpleNamespace(pause=None))  # type: ignore[arg-type]
    target: Any = None
    collector.follow_samples(target, "/run/samples", lambda _text: None)
    with collector.part("rebooted"):
        collector.follow_samples(target, "/run/samples", lambda _text: None)
    return collector, failures


def test_samples_are_kept_with_their_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector, failures = follow(tmp_path, monkeypatch)
    evidence, folder = collector.evidence, tmp_path / "a"
    assert failures.noted == ()
    assert evidence.rebooted is not None
    monkeypatch.setattr(parsed_samples, "SampleReader", None)
    for half, name in ((evidence, "samples.jsonl"), (evidence.rebooted, "rebooted-samples.jsonl")):
        found = parsed_samples.read_samples(folder, name, most=60)
        assert len(found.samples) == found.slots == 60
        assert (found.samples, found.slots) == (half.samples, half.slots)


def test_samples_are_measured_also_where_their_columns_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "samples.columns").mkdir(parents=True)
    collector, failures = follow(tmp_path, monkeypatch)
    assert collector.evidence.slots == 60
    assert collector.evidence.samples_complete
    (noted,) = failures.noted
    assert noted.startswith("storing the parsed samples of k3f9/a/1: SetupError: cannot write ")
