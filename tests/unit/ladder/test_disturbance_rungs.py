"""The rung of the disturbances: nothing but a bound that held, and a clock that came back, proves it."""

from dataclasses import replace
from typing import Any

import pytest

from harness import ladder
from harness.campaign.limits import Requirement
from harness.model import Depth, Evidence, Outcome, PhcRead, Reason, Rung, RungName, RungStatus, Verdict
from harness.model.disturbances import Disturbance, DisturbanceWindow

NAME = RungName.BOUND_HOLDS
Required = tuple[Requirement, ...]


def disturbed(good: Evidence, *names: str, **changes: Any) -> Evidence:
    """The host's own samples again, in which each disturbance took 10 s of every 40."""
    windows = tuple(
        DisturbanceWindow(disturbance=Disturbance(name), begun=10 + 40 * number, ended=20 + 40 * number)
        for number, name in enumerate(names)
    )
    part = Evidence(samples=good.samples, slots=good.slots, disturbances=windows)
    boot = replace(good.facts, boot_id="4f0e8d5e") if good.facts else None
    rebooted = replace(good, claim=None, facts=boot, final_facts=boot)
    return replace(good, disturbed=replace(part, **changes), rebooted=rebooted)


def judge(evidence: Evidence, required: Required, *names: str, depth: Depth = Depth.FULL) -> Verdict:
    asked = tuple(Disturbance(name) for name in names)
    return ladder.judge(evidence, required, depth=depth, read_only=False, disturbances=asked)


def rung(verdict: Verdict) -> Rung:
    return next(rung for rung in verdict.rungs if rung.name is NAME)


def test_a_clock_that_withstood_them_passes(good: Evidence, required: Required) -> None:
    found = judge(disturbed(good, "cpu-load", "reboot"), required, "cpu-load", "reboot")
    assert found.outcome is Outcome.PASS
    assert rung(found).status is RungStatus.PROVEN
    assert rung(found).evidence == (
        "cpu-load, reboot: the bound held in all 110 seconds, and the clock was back after 0 s at most"
    )


@pytest.mark.parametrize(
    ("depth", "names", "evidence"),
    [
        (Depth.FULL, (), "the campaign names no disturbance"),
        (Depth.STANDARD, ("cpu-load",), "depth standard disturbs no clock"),
    ],
)
def test_where_none_is_asked_for_none_is_required(
    good: Evidence, required: Required, depth: Depth, names: tuple[str, ...], evidence: str
) -> None:
    found = judge(disturbed(good), required, *names, depth=depth)
    assert (rung(found).status, rung(found).evidence) == (RungStatus.NOT_REQUIRED, evidence)
    assert found.outcome is Outcome.PASS


def test_a_bound_that_a_reading_refutes_never_passes(good: Evidence, required: Required) -> None:
    """The guest stood still for 5 s: its clock is as far behind, and chrony's bound does not know."""
    behind = (PhcRead(before_ns=10**9, phc_ns=6 * 10**9, after_ns=10**9 + 4_000),)
    samples = tuple(replace(each, reads=behind) if each.slot in (21, 22) else each for each in good.samples or ())
    found = judge(disturbed(good, "guest-paused", samples=samples), required, "guest-paused")
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.BOUND_REFUTED)
    assert found.sentence == (
        "guest-paused: chrony's bound was refuted in 2 of 110 seconds; a reading puts the PHC 5 s from the system clock"
    )


@pytest.mark.parametrize(
    ("changes", "reason", "sentence"),
    [
        ({"samples": ()}, Reason.TOO_FEW_SAMPLES, "held against a reading in 0 seconds only"),
        ({"disturbances": ()}, Reason.NOT_OBSERVED, "cpu-load: not marked as done"),
        ({"lost": "it did not come back"}, Reason.UNREACHABLE, "it did not come back"),
        (
            {"trouble": "cpu-load could not be caused: python3: not found"},
            Reason.HARNESS_ERROR,
            "cpu-load could not be caused: python3: not found",
        ),
        (
            {
                "disturbances": (
                    DisturbanceWindow(disturbance=Disturbance.CPU_LOAD, begun=1, ended=2, failure="OSError: full"),
                )
            },
            Reason.NOT_OBSERVED,
            "cpu-load: OSError: full",
        ),
    ],
)
def test_what_was_not_seen_is_no_pass_and_no_failure(
    good: Evidence, required: Required, changes: dict[str, Any], reason: Reason, sentence: str
) -> None:
    found = judge(disturbed(good, "cpu-load", **changes), required, "cpu-load")
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, reason)
    assert sentence in found.sentence


def test_a_host_that_was_not_disturbed_does_not_pass(good: Evidence, required: Required) -> None:
    found = judge(replace(disturbed(good), disturbed=None), required, "cpu-load")
    assert (found.outcome, found.sentence) == (Outcome.INCONCLUSIVE, "the clock was not disturbed")


def test_a_clock_that_does_not_come_back_is_inconclusive(good: Evidence, required: Required) -> None:
    samples = tuple(replace(each, sources=()) if each.slot >= 10 else each for each in good.samples or ())
    found = judge(disturbed(good, "chronyd-restarted", samples=samples), required, "chronyd-restarted")
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.NOT_SYNCHRONISED)
    assert found.sentence == "chronyd-restarted: the clock was not back within 1 min"
