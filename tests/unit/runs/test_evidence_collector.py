"""Does the evidence have the reason and the remedy that a failed play gives?"""

from pathlib import Path

import pytest

from harness.host.playbooks import PlayOutcome, PlayResult
from harness.model import Reason
from harness.runs.evidence_collector import EXPLAINING_TASKS, describe_failure

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
