"""Find the stage in which each host of a run is, by its latest step."""

from collections.abc import Iterable, Mapping

from harness.model import DOING, Stage
from harness.store.ledger_lines import StepLine
from harness.untrusted import names


def find_latest_steps(steps: Iterable[StepLine]) -> Mapping[str, StepLine]:
    """Find the latest step of each host that was begun, by the host's name."""
    return {step.host: step for step in steps if names.TOKEN.fullmatch(step.token)}


def describe_step(step: StepLine | None) -> str:
    """Say in words what a host does by its latest step: "being measured"; "waiting" before its first."""
    if step is None:
        return "waiting"
    if step.stage is Stage.RELEASE and step.ended_ns is not None:
        return "ended"
    return DOING[step.stage]
