"""Which sentence a verdict has where the harness could not carry out a stage, and which remedy goes before which."""

from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.limits import Requirement
from harness.ladder import judge
from harness.ladder.annotations import REMEDIES, choose_remedy
from harness.ladder.case import Case, unobserved_rung
from harness.ladder.driver_remedies import START_REMEDIES
from harness.model import (
    DEFAULT_CLOCK_NAMES,
    Claim,
    Clock,
    Depth,
    Driver,
    DriverWord,
    Evidence,
    Facts,
    Outcome,
    Reason,
    RungName,
    RungStatus,
    Unparsed,
    Verdict,
)

Required = tuple[Requirement, ...]

OFF = Driver(
    pci="0000:00:05.0", interface="eth1", name="ena", version="7.2.12", phc_parameter=False, phc_parameter_on=None,
    devlink_parameter=True, devlink_on=False,
)  # fmt: skip
ON = replace(OFF, devlink_on=True)
OLD = replace(OFF, devlink_parameter=False, devlink_on=None)


def without_clock(good: Evidence, driver: Driver, **changes: Any) -> Evidence:
    """A host without a clock, where nothing was measured."""
    assert good.facts is not None
    facts = replace(good.facts, clocks=(), phc_link=None, reads=None, read_errors=None, drivers=(driver,), **changes)
    return replace(good, facts=facts, samples=None, slots=None, final_facts=None)


def judged(evidence: Evidence, required: Required, *, depth: Depth = Depth.STANDARD) -> Verdict:
    return judge(evidence, required, depth=depth, read_only=False)


# --- what the harness could not do ------------------------------------------------------------------------------------


def test_an_interrupted_run_says_what_it_was_doing_or_what_was_not_known_yet(
    good: Evidence, required: Required
) -> None:
    unmeasured = replace(good, samples=None, slots=None, final_facts=None, interrupted=True)
    assert judged(replace(unmeasured, interrupted_while="measuring"), required).sentence == (
        "interrupted while measuring"
    )
    assert judged(unmeasured, required).sentence == "interrupted before this was known: no samples were taken"


def test_a_stage_that_failed_is_the_sentence(good: Evidence, required: Required) -> None:
    found = judged(replace(without_clock(good, OFF), trouble="configure.yml: apt is locked"), required)
    assert (found.reason, found.sentence) == (Reason.HARNESS_ERROR, "configure.yml: apt is locked")


def test_a_clock_that_could_not_be_switched_on_says_what_is_off_and_why(good: Evidence, required: Required) -> None:
    trouble: dict[str, Any] = {"trouble": "Read-only file system", "read_only_files": True}
    found = judged(replace(without_clock(good, OFF), **trouble), required)
    assert found.sentence == (
        "devlink enable_phc is off, and there is no clock; it could not be switched on: Read-only file system"
    )
    assert found.remedy == "`mount -o remount,rw /` on the host, or use another image; then run it again"
    assert found.rungs[-1].status is RungStatus.NOT_REACHED


def test_files_that_cannot_be_changed_are_no_remedy_for_another_reason(good: Evidence, required: Required) -> None:
    pass_in_spite_of_it = replace(good, read_only_files=True)
    assert judged(pass_in_spite_of_it, required).remedy is None
    assert choose_remedy(case(replace(good, read_only_files=True)), Reason.QUOTA) == REMEDIES[Reason.QUOTA]


def test_without_samples_nothing_is_compared_with_a_limit(good: Evidence, required: Required) -> None:
    unmeasured = replace(good, samples=None, slots=None)
    assert judged(unmeasured, required).findings == ()
    assert judged(replace(good, samples=None, slots=None, final_facts=None), required, depth=Depth.QUICK).findings == ()


# --- the remedy -------------------------------------------------------------------------------------------------------


def case(evidence: Evidence, *, read_only: bool = False) -> Case:
    return Case(
        evidence=evidence,
        requirements=(),
        findings=(),
        depth=Depth.STANDARD,
        clock_names=DEFAULT_CLOCK_NAMES,
        read_only=read_only,
    )


def with_facts(good: Evidence, **changes: Any) -> Case:
    assert good.facts is not None
    return case(replace(good, facts=replace(good.facts, **changes)))


RELOAD = "reload the driver with its debug messages on, so that it says why there is no clock"


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        (DriverWord.NOT_SUPPORTED_BY_DEVICE, "choose another instance type"),
        (DriverWord.NOT_ENABLED, RELOAD),
        (DriverWord.ACTIVE, RELOAD),
        (None, RELOAD),
        (DriverWord.NO_MEMORY, START_REMEDIES[DriverWord.NO_MEMORY]),
    ],
)
def test_another_type_is_advised_only_where_the_driver_says_that_the_device_has_no_clock(
    good: Evidence, word: DriverWord | None, remedy: str
) -> None:
    assert choose_remedy(with_facts(good, driver_word=word), Reason.NO_PHC) == remedy


def test_a_host_without_facts_has_the_remedy_of_its_reason() -> None:
    nothing = case(Evidence())
    assert choose_remedy(nothing, Reason.NO_PHC) == RELOAD
    for reason in (Reason.DRIVER_OFF, Reason.DRIVER_NOT_CAPABLE, Reason.PHC_UNREADABLE, Reason.HOST_NOT_READY):
        assert choose_remedy(nothing, reason) == REMEDIES[reason]
    assert choose_remedy(case(Evidence(), read_only=True), Reason.DRIVER_OFF) == (
        "run it without --read-only, so that the role switches the clock on"
    )


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.DRIVER_NOT_CAPABLE, Reason.DRIVER_OFF, Reason.NO_PHC}))
def test_a_remedy_of_the_role_for_the_driver_is_none_for_another_reason(good: Evidence, reason: Reason) -> None:
    told = with_facts(good, remedy="boot kernel 7.2", driver_word=DriverWord.NO_MEMORY)
    assert choose_remedy(told, reason) == REMEDIES[reason]


@pytest.mark.parametrize("reason", [Reason.DRIVER_NOT_CAPABLE, Reason.DRIVER_OFF, Reason.NO_PHC])
def test_the_remedy_of_the_role_goes_before_the_one_of_the_reason(good: Evidence, reason: Reason) -> None:
    assert choose_remedy(with_facts(good, remedy="boot kernel 7.2"), reason) == "boot kernel 7.2"


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.HOST_NOT_READY, Reason.PACKAGES_UNAVAILABLE}))
def test_a_remedy_of_a_trouble_is_none_for_a_verdict_with_another_reason(good: Evidence, reason: Reason) -> None:
    plain, told = case(good), case(replace(good, trouble="apt is locked", trouble_remedy="make room"))
    assert choose_remedy(told, reason) == choose_remedy(plain, reason)


def test_a_switch_that_is_off_has_the_command_of_this_driver(good: Evidence) -> None:
    told = choose_remedy(with_facts(good, drivers=(OFF,), remedy=None), Reason.DRIVER_OFF)
    assert (told or "").startswith("`devlink dev param set pci/0000:00:05.0 name enable_phc")
    assert (
        choose_remedy(with_facts(good, drivers=(OLD,), remedy=None), Reason.DRIVER_OFF) == REMEDIES[Reason.DRIVER_OFF]
    )


@pytest.mark.parametrize("text", ["second opinion offset: not judged near a leap second", "no NTP source answered"])
def test_a_rung_that_was_not_observed_for_another_cause_has_the_remedy_of_its_reason(good: Evidence, text: str) -> None:
    end = unobserved_rung(RungName.CLOCK_READABLE, text)
    assert choose_remedy(case(good), Reason.NOT_OBSERVED, end) == REMEDIES[Reason.NOT_OBSERVED]
    assert choose_remedy(case(good), Reason.NOT_OBSERVED, None) == REMEDIES[Reason.NOT_OBSERVED]


# --- notes beside a verdict -------------------------------------------------------------------------------------------


def unparsed(count: int, more: int = 0) -> tuple[Unparsed, ...]:
    line = Unparsed(where="w", line_number=3, line="what" * 50, expected="a line")
    return (*(line,) * (count - 1), replace(line, more=more))


@pytest.mark.parametrize(
    ("lines", "listed", "last"),
    [
        (unparsed(20), 20, None),
        (unparsed(21), 20, "and 1 more lines that were not understood"),
        (unparsed(20, more=1), 20, "and 1 more lines that were not understood"),
        (unparsed(3, more=40), 3, "and 40 more lines that were not understood"),
    ],
)
def test_twenty_lines_that_were_not_understood_are_listed(
    good: Evidence, required: Required, lines: tuple[Unparsed, ...], listed: int, last: str | None
) -> None:
    found = judged(replace(good, unparsed=lines), required).unobserved
    shown = f"w:3: {('what' * 50)[:120]!r} is not a line"
    assert found == ((shown,) * listed if last is None else (*(shown,) * listed, last))


def test_a_claim_is_contradicted_only_by_what_was_proven(good: Evidence, required: Required) -> None:
    supported = Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-21")
    unsupported = replace(supported, phc_supported=False)
    word: dict[str, Any] = {"driver_word": DriverWord.NOT_SUPPORTED_BY_DEVICE, "driver_word_text": "not supported"}
    denied = without_clock(good, ON, **word)
    unplaced = replace(denied, placement=None, facts=replace(denied.facts or some_facts(good), ntp_stratum=None))
    for evidence, claim in (
        (denied, unsupported),
        (denied, None),
        (unplaced, supported),
        (without_clock(good, OFF), supported),
        (without_clock(good, OFF), unsupported),
        (good, None),
        (Evidence(), supported),
    ):
        found = judged(replace(evidence, claim=claim), required)
        assert found.contradictions == (), (claim, found.sentence)


def some_facts(good: Evidence) -> Facts:
    assert good.facts is not None
    return good.facts


def test_daemons_that_do_not_stay_up_are_no_remark_where_they_could_steer(good: Evidence, required: Required) -> None:
    steerable = Clock(device="ptp1", name="igb-0", pci=None, max_adjustment_ppb=999)
    facts = replace(some_facts(good), restarting=("ptp4l",))
    for clocks in ((steerable,), ()):
        found = judge(
            replace(good, facts=replace(facts, clocks=clocks)), required, depth=Depth.STANDARD, read_only=False,
            clock_names=("igb-*",),
        )  # fmt: skip
        assert not any("started again and again" in remark for remark in found.remarks)


def test_the_sentence_of_a_pass_says_whether_the_claim_agrees(good: Evidence, required: Required) -> None:
    wrong = replace(good, claim=Claim(phc_supported=False, source="DescribeInstanceTypes", date="2026-11-21"))
    found = judged(wrong, required)
    assert (found.outcome, found.sentence.endswith(", API claim disagrees")) == (Outcome.PASS, True)
    assert judged(replace(good, claim=None), required).sentence.endswith(", converged in 3.2 s")
