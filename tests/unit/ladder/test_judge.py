"""A case per outcome and reason, and each rung proven, failed and not observed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.limits import Requirement
from harness.ladder import judge
from harness.ladder.annotations import REMEDIES
from harness.model import (
    ChronySource,
    Claim,
    Clock,
    Depth,
    Driver,
    DriverWord,
    Evidence,
    Launch,
    Offer,
    Outcome,
    Placement,
    Reach,
    Reason,
    RungName,
    RungStatus,
    Unparsed,
    Verdict,
)

Required = tuple[Requirement, ...]
Change = Callable[[Evidence], Evidence]

SAID = "PHC feature is not supported by the device"
ELSEWHERE = Placement(precise=False, detail="outside any placement group")
UNKNOWN = Placement(precise=None, detail="nobody knows")


def verdict(evidence: Evidence, required: Required, **how: Any) -> Verdict:
    return judge(evidence, required, **{"depth": Depth.STANDARD, "read_only": False, **how})


def facts(**changes: object) -> Change:
    """Change the first collection."""

    def change(evidence: Evidence) -> Evidence:
        assert evidence.facts is not None
        return replace(evidence, facts=replace(evidence.facts, **changes))  # type: ignore[arg-type]

    return change


def final(**changes: object) -> Change:
    """Change the closing collection."""

    def change(evidence: Evidence) -> Evidence:
        assert evidence.final_facts is not None
        return replace(evidence, final_facts=replace(evidence.final_facts, **changes))  # type: ignore[arg-type]

    return change


def samples(which: Callable[[int], bool], **changes: object) -> Change:
    """Change some samples by their number; a callable value makes the new one from the sample."""

    def change(evidence: Evidence) -> Evidence:
        assert evidence.samples is not None
        made = []
        for one in evidence.samples:
            now = {name: value(one) if callable(value) else value for name, value in changes.items()}
            made.append(replace(one, **now) if which(one.slot) else one)  # type: ignore[arg-type]
        return replace(evidence, samples=tuple(made))

    return change


def parts(**changes: object) -> Change:
    return lambda evidence: replace(evidence, **changes)  # type: ignore[arg-type]


def both(*changes: Change) -> Change:
    def change(evidence: Evidence) -> Evidence:
        for one in changes:
            evidence = one(evidence)
        return evidence

    return change


def every(_seq: int) -> bool:
    return True


def a_driver(**changes: object) -> Driver:
    bare: dict[str, Any] = {
        "pci": "0000:00:05.0",
        "interface": "eth1",
        "name": "ena",
        "version": "7.2.12",
        "phc_parameter": False,
        "phc_parameter_on": None,
        "devlink_parameter": False,
        "devlink_on": None,
    }
    return Driver(**{**bare, **changes})


def no_clock(driver: Driver | None = None, **changes: object) -> Change:
    """A host without a clock, where nothing was measured."""
    drivers = () if driver is None else (driver,)
    return both(
        facts(clocks=(), phc_link=None, reads=None, read_errors=None, drivers=drivers, **changes),
        parts(samples=None, slots=None, final_facts=None),
    )


CAPABLE_OFF = a_driver(devlink_parameter=True, devlink_on=False)
CAPABLE_ON = a_driver(devlink_parameter=True, devlink_on=True)
WORD = {"driver_word": DriverWord.NOT_SUPPORTED_BY_DEVICE, "driver_word_text": SAID}
NEVER = Evidence()


def at(evidence_change: Change) -> Change:
    return evidence_change


def source_state(state: str) -> Callable[[Any], object]:
    def sources(one: Any) -> object:
        return (replace(one.sources[0], state=state), *one.sources[1:])

    return sources


def drifting(ppb: float) -> Change:
    """Our clock runs away from NTP by so much, while it follows the PHC."""

    def sources(one: Any) -> object:
        return (one.sources[0], replace(one.sources[1], offset_ns=round(one.slot * ppb) + 40_000))

    return samples(every, sources=sources)


def refusals(per_sample: int) -> Change:
    """The driver refuses so many readings in each second, in the way that it counts as err_ts."""
    return samples(every, counters=lambda one: replace(one.counters, err_ts=per_sample * one.slot))


def phc_ahead(ns: int) -> Callable[[Any], object]:
    """The readings of a sample with the PHC ahead by so much more."""

    def reads(sample: Any) -> object:
        return tuple(replace(read, phc_ns=read.phc_ns + ns) for read in sample.reads)

    return reads


def far_phc(ns: int) -> Change:
    return samples(every, reads=phc_ahead(ns))


def back_in_time(one: Any) -> object:
    return (replace(one.reads[0], phc_ns=one.reads[0].phc_ns - 2_000_000_000), *one.reads[1:])


def phc_unselected(evidence: Evidence) -> object:
    assert evidence.final_facts is not None
    assert evidence.final_facts.sources is not None
    return (replace(evidence.final_facts.sources[0], state="?"), *evidence.final_facts.sources[1:])


def final_unselected(evidence: Evidence) -> Evidence:
    return final(sources=phc_unselected(evidence))(evidence)


def readings_not_taken(evidence: Evidence) -> Evidence:
    """chronyd has taken one of the last eight readings."""
    phc, *others = evidence.final_facts.sources or () if evidence.final_facts else ()
    return final(sources=(replace(phc, state="?", reach=0o10), *others))(evidence)


def steady_readings(evidence: Evidence) -> Evidence:
    """Each reading takes as long as the fastest one."""
    return samples(every, reads=lambda sample: (sample.reads[2],) * 5)(evidence)


CASES: dict[str, tuple[Change, RungName | None, Outcome, Reason]] = {
    "all is well": (parts(), None, Outcome.PASS, Reason.SYNCHRONISED),
    "not offered": (
        lambda _: Evidence(offer=Offer(available=False, where="eu-north-1")),
        RungName.OFFERED, Outcome.UNSUPPORTED, Reason.NOT_OFFERED,
    ),
    "not offered, by the launch": (
        lambda _: Evidence(launch=Launch(failure=Reason.NOT_OFFERED, detail="no such type here")),
        RungName.OFFERED, Outcome.UNSUPPORTED, Reason.NOT_OFFERED,
    ),
    "nothing known": (lambda _: NEVER, RungName.LAUNCHED, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
    "no capacity": (
        lambda _: Evidence(launch=Launch(failure=Reason.CAPACITY, detail="no room")),
        RungName.LAUNCHED, Outcome.INCONCLUSIVE, Reason.CAPACITY,
    ),
    "quota": (
        lambda _: Evidence(launch=Launch(failure=Reason.QUOTA, detail="vCPU")),
        RungName.LAUNCHED, Outcome.INCONCLUSIVE, Reason.QUOTA,
    ),
    "launch failed": (
        lambda _: Evidence(launch=Launch(failure=Reason.LAUNCH_FAILED, detail="internal error")),
        RungName.LAUNCHED, Outcome.INCONCLUSIVE, Reason.LAUNCH_FAILED,
    ),
    "unreachable": (
        lambda _: Evidence(
            launch=Launch(failure=None, detail="runs"), reach=Reach(reached=False, tries=5, detail="timed out")
        ),
        RungName.REACHABLE, Outcome.INCONCLUSIVE, Reason.UNREACHABLE,
    ),
    "reach not observed": (
        lambda _: Evidence(launch=Launch(failure=None, detail="runs")),
        RungName.REACHABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "not a precision host, by placement": (
        both(no_clock(CAPABLE_ON, **WORD), parts(placement=ELSEWHERE)),
        RungName.PRECISION_HOST, Outcome.INCONCLUSIVE, Reason.HOST_NOT_PRECISION,
    ),
    "not a precision host, by stratum": (
        both(no_clock(CAPABLE_ON, ntp_stratum=3, **WORD), parts(placement=UNKNOWN)),
        RungName.PRECISION_HOST, Outcome.INCONCLUSIVE, Reason.HOST_NOT_PRECISION,
    ),
    "old driver": (
        no_clock(a_driver(version="6.12.107"), remedy="boot kernel 7.2"),
        RungName.DRIVER_CAPABLE, Outcome.FAIL, Reason.DRIVER_NOT_CAPABLE,
    ),
    "kernel without PTP": (
        no_clock(a_driver(phc_parameter=None, devlink_parameter=None), kernel_has_ptp=False),
        RungName.DRIVER_CAPABLE, Outcome.FAIL, Reason.DRIVER_NOT_CAPABLE,
    ),
    "modinfo unreadable": (
        no_clock(a_driver(phc_parameter=None)),
        RungName.DRIVER_CAPABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "devlink unreadable": (
        no_clock(a_driver(devlink_parameter=None)),
        RungName.DRIVER_CAPABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "no ENA device": (no_clock(None), RungName.DRIVER_CAPABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
    "drivers not observed": (
        both(no_clock(), facts(drivers=None)), RungName.DRIVER_CAPABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "driver off, by devlink": (no_clock(CAPABLE_OFF), RungName.DRIVER_ON, Outcome.FAIL, Reason.DRIVER_OFF),
    "driver off, and files that cannot be changed": (
        both(no_clock(CAPABLE_OFF), parts(trouble="Read-only file system", read_only_files=True)),
        RungName.DRIVER_ON, Outcome.FAIL, Reason.DRIVER_OFF,
    ),
    "a clock, and files that cannot be changed": (
        parts(samples=None, final_facts=None, trouble="Read-only file system", read_only_files=True),
        RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.HARNESS_ERROR,
    ),
    "driver off, by parameter": (
        no_clock(a_driver(phc_parameter=True, phc_parameter_on=False)),
        RungName.DRIVER_ON, Outcome.FAIL, Reason.DRIVER_OFF,
    ),
    "driver off, by its word": (
        no_clock(a_driver(phc_parameter=True), driver_word=DriverWord.NOT_ENABLED, driver_word_text="not enabled"),
        RungName.DRIVER_ON, Outcome.FAIL, Reason.DRIVER_OFF,
    ),
    "switch unreadable": (
        no_clock(a_driver(phc_parameter=True)), RungName.DRIVER_ON, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "no clock, by the driver's word": (
        no_clock(CAPABLE_ON, **WORD), RungName.CLOCK_PRESENT, Outcome.UNSUPPORTED, Reason.NO_PHC,
    ),
    "no clock, switch refused": (
        no_clock(CAPABLE_OFF, **WORD), RungName.CLOCK_PRESENT, Outcome.UNSUPPORTED, Reason.NO_PHC,
    ),
    "no clock, stratum 1 proves the host": (
        both(no_clock(CAPABLE_OFF, ntp_stratum=1, **WORD), parts(placement=None)),
        RungName.CLOCK_PRESENT, Outcome.UNSUPPORTED, Reason.NO_PHC,
    ),
    "no clock, host not known": (
        both(no_clock(CAPABLE_OFF, ntp_stratum=None, **WORD), parts(placement=UNKNOWN)),
        RungName.CLOCK_PRESENT, Outcome.INCONCLUSIVE, Reason.NO_PHC,
    ),
    "no clock, without a word": (no_clock(CAPABLE_ON), RungName.CLOCK_PRESENT, Outcome.INCONCLUSIVE, Reason.NO_PHC),
    "clocks not observed": (
        both(no_clock(CAPABLE_ON, **WORD), facts(clocks=None)),
        RungName.CLOCK_PRESENT, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "another clock alone": (
        both(no_clock(CAPABLE_OFF, **WORD),
             facts(clocks=(Clock(device="ptp0", name="igb", pci=None, max_adjustment_ppb=999),))),
        RungName.CLOCK_PRESENT, Outcome.UNSUPPORTED, Reason.NO_PHC,
    ),
    "2 % refused": (refusals(1), RungName.CLOCK_READABLE, Outcome.FAIL, Reason.PHC_UNREADABLE),
    "device gone": (
        both(facts(counters_published=False), samples(every, reads=(), read_errors=5)),
        RungName.CLOCK_READABLE, Outcome.FAIL, Reason.PHC_UNREADABLE,
    ),
    "PHC goes back": (
        samples(lambda seq: seq == 50, reads=back_in_time),
        RungName.CLOCK_READABLE, Outcome.FAIL, Reason.PHC_IMPLAUSIBLE,
    ),
    "PHC shows TAI": (far_phc(37 * 10**9), RungName.CLOCK_READABLE, Outcome.FAIL, Reason.PHC_IMPLAUSIBLE),
    "no samples": (
        parts(samples=None), RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "no second opinion": (
        both(facts(sources=(), ntp_offset_ns=None), final(sources=(), ntp_offset_ns=None)),
        RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "a lost sample": (
        lambda good: replace(good, samples=good.samples[:50] + good.samples[51:] if good.samples else None),
        RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "no end of the samples": (
        parts(slots=None), RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "counters not observed": (
        facts(counters_published=None), RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "few readings": (
        lambda good: replace(good, samples=good.samples[:2] if good.samples else None),
        RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES,
    ),
    "a competitor": (
        facts(competitors=("ntpd",)), RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.CLOCK_INTERFERENCE,
    ),
    "a competitor at the end": (
        final(competitors=("phc2sys",)), RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.CLOCK_INTERFERENCE,
    ),
    "interference": (
        final(interference=True), RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.CLOCK_INTERFERENCE,
    ),
    "not converged": (
        facts(converged=False, converged_after_s=None),
        RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.NOT_SYNCHRONISED,
    ),
    "converged late": (
        facts(converged_after_s=120.1), RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.NOT_SYNCHRONISED,
    ),
    "not selected at the end": (
        final_unselected, RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.NOT_SYNCHRONISED,
    ),
    "chronyd takes no readings, whose duration varies": (
        readings_not_taken, RungName.CHRONY_FOLLOWS, Outcome.INCONCLUSIVE, Reason.READINGS_NOT_TAKEN,
    ),
    "chronyd takes no readings, whose duration is steady": (
        both(readings_not_taken, steady_readings), RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.READINGS_NOT_TAKEN,
    ),
    "not selected for long": (
        samples(lambda seq: seq >= 112, sources=source_state("?")),
        RungName.CHRONY_FOLLOWS, Outcome.FAIL, Reason.NOT_SYNCHRONISED,
    ),
    "convergence not observed": (
        facts(converged=None), RungName.CHRONY_FOLLOWS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "competitors not observed": (
        final(competitors=None), RungName.CHRONY_FOLLOWS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "no closing look": (
        parts(final_facts=None), RungName.CHRONY_FOLLOWS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "a reading outside chrony's bound": (
        samples(lambda slot: slot == 70, reads=phc_ahead(60_000)),
        RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.BOUND_REFUTED,
    ),
    "a second without chrony's bound": (
        samples(lambda slot: slot == 70, tracking=None),
        RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "drifting": (drifting(50_000), RungName.WITHIN_LIMITS, Outcome.FAIL, Reason.OUT_OF_LIMITS),
    "error bound refused": (
        samples(every, error_bound_ns=None), RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "error bound refused mostly": (
        samples(lambda seq: seq > 50, error_bound_ns=None),
        RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES,
    ),
    "error bound refused once": (
        samples(lambda seq: seq == 7, error_bound_ns=None),
        RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "whether it publishes the bound not observed": (
        facts(error_bound_published=None), RungName.WITHIN_LIMITS, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED,
    ),
    "interrupted": (
        lambda _: Evidence(launch=Launch(failure=None, detail="runs"), interrupted=True),
        RungName.REACHABLE, Outcome.INCONCLUSIVE, Reason.INTERRUPTED,
    ),
    "interrupted while it measured": (
        parts(slots=None, interrupted=True),
        RungName.CLOCK_READABLE, Outcome.INCONCLUSIVE, Reason.INTERRUPTED,
    ),
    "a stage failed": (
        both(no_clock(CAPABLE_OFF), parts(trouble="configure.yml: apt is locked")),
        RungName.DRIVER_ON, Outcome.INCONCLUSIVE, Reason.HARNESS_ERROR,
    ),
    "driver off, and packages that cannot be installed": (
        both(no_clock(CAPABLE_OFF), parts(trouble="no mirror", trouble_reason=Reason.PACKAGES_UNAVAILABLE)),
        RungName.DRIVER_ON, Outcome.INCONCLUSIVE, Reason.PACKAGES_UNAVAILABLE,
    ),
    "a host without Python": (
        parts(facts=None, samples=None, final_facts=None, trouble="no Python", trouble_reason=Reason.HOST_NOT_READY),
        RungName.DRIVER_CAPABLE, Outcome.INCONCLUSIVE, Reason.HOST_NOT_READY,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_where_the_climb_ends(good: Evidence, required: Required, name: str) -> None:
    change, rung, outcome, reason = CASES[name]
    found = verdict(change(good), required)
    ended = next((one.name for one in found.rungs if one.status is RungStatus.NOT_REACHED), None)
    last = list(RungName)[list(RungName).index(ended) - 1] if ended else None
    assert (found.outcome, found.reason, last) == (outcome, reason, rung)
    assert [one.name for one in found.rungs] == list(RungName)


def test_every_reason_but_one_has_a_case() -> None:
    reboot = {Reason.NOT_PERSISTENT}  # below
    assert {reason for _, _, _, reason in CASES.values()} == set(Reason) - reboot


@pytest.mark.parametrize("name", CASES)
def test_the_table_in_verdicts_md_has_each_reason_in_the_row_of_its_rung(
    good: Evidence, required: Required, rung_rows: list[tuple[str, str, str]], name: str
) -> None:
    change, _, _, reason = CASES[name]
    failed = [one.name for one in verdict(change(good), required).rungs if one.status is RungStatus.FAILED]
    listed = [rung for rung, reasons, _ in rung_rows if f"`{reason}`" in reasons]
    assert set(failed) <= set(listed)


def statuses(found: Verdict) -> dict[RungName, RungStatus]:
    return {rung.name: rung.status for rung in found.rungs}


def test_rungs_of_a_pass(good: Evidence, required: Required) -> None:
    expected = dict.fromkeys(RungName, RungStatus.PROVEN)
    expected[RungName.CLAIMED] = RungStatus.RECORDED
    expected[RungName.BOUND_HOLDS] = expected[RungName.SURVIVES_REBOOT] = RungStatus.NOT_REQUIRED
    assert statuses(verdict(good, required)) == expected


def test_the_sentence_of_a_pass(good: Evidence, required: Required) -> None:
    assert verdict(good, required).sentence == (
        "phc offset median 50 ns +- 2 us, offset p99 84 ns, error bound max 26.3 us, converged in 3.2 s, "
        "API claim agrees"
    )


def test_the_sentence_tells_of_a_chronyd_that_was_started_again(good: Evidence, required: Required) -> None:
    assert "converged in 3.2 s at start 2" in verdict(facts(chronyd_starts=2)(good), required).sentence


def test_a_driver_that_publishes_no_error_bound_can_pass(good: Evidence, required: Required) -> None:
    found = verdict(facts(error_bound_published=False)(good), required)
    assert (found.outcome, found.sentence, found.unobserved) == (
        Outcome.PASS,
        "phc offset median 50 ns +- 2 us, offset p99 84 ns, chrony bound p99 6.32 us, error bound not published by "
        "this driver, converged in 3.2 s, API claim agrees",
        ("error bound: not published by this driver",),
    )


def test_without_counters_our_own_readings_count(good: Evidence, required: Required) -> None:
    change = both(facts(counters_published=False), samples(every, counters=None))
    (finding,) = [one for one in verdict(change(good), required).findings if one.quantity == "phc_read_success"]
    assert (finding.observed, finding.samples, finding.held, finding.note) == (1.0, 600, True, "by our own readings")


def test_a_device_reset_in_the_middle_does_not_count_backwards(good: Evidence, required: Required) -> None:
    def counters(one: Any) -> object:
        return replace(one.counters, cnt=30 * (one.slot - 60))

    found = verdict(samples(lambda seq: seq >= 60, counters=counters)(good), required)
    (finding,) = [one for one in found.findings if one.quantity == "phc_read_success"]
    assert (found.outcome, finding.observed, finding.samples) == (Outcome.PASS, 1.0, 59 * 30 + 59 * 30)


def test_a_refused_switch_is_recorded_not_failed(good: Evidence, required: Required) -> None:
    found = verdict(no_clock(CAPABLE_OFF, **WORD)(good), required, read_only=True)
    assert statuses(found)[RungName.DRIVER_ON] is RungStatus.RECORDED
    assert found.sentence == f'/sys/class/ptp is empty; the driver\'s own word: "{SAID}"'


def test_read_only_asks_for_no_convergence_and_says_how_to_switch_on(good: Evidence, required: Required) -> None:
    unwaited = facts(converged=None, converged_after_s=None)(good)
    found = verdict(unwaited, required, read_only=True)
    assert (found.outcome, [one for one in found.findings if one.quantity == "convergence_s"]) == (Outcome.PASS, [])
    off = verdict(no_clock(CAPABLE_OFF)(good), required, read_only=True)
    assert (off.reason, off.remedy) == (
        Reason.DRIVER_OFF,
        "run it without --read-only, so that the role switches the clock on; or by hand: "
        "`devlink dev param set pci/0000:00:05.0 name enable_phc value true cmode driverinit`, then "
        "`devlink dev reload pci/0000:00:05.0`",
    )


NO_CHRONYD = {"tracking": None, "sources": None, "chronyd_runs": False, "converged": None, "converged_after_s": None}


def test_a_clock_that_is_good_and_that_no_chronyd_follows(good: Evidence, required: Required) -> None:
    seen = both(facts(**NO_CHRONYD), final(**NO_CHRONYD), samples(every, tracking=None, sources=None))
    found = verdict(seen(good), required, read_only=True)
    assert (found.outcome, found.reason, found.sentence) == (
        Outcome.FAIL,
        Reason.NOT_SYNCHRONISED,
        "chronyd does not run",
    )
    assert statuses(found)[RungName.CLOCK_READABLE] is RungStatus.PROVEN
    hour = both(seen, facts(ntp_offset_ns=3_600_000_000_000), final(ntp_offset_ns=3_600_000_000_000))
    assert verdict(hour(good), required, read_only=True).reason is Reason.PHC_IMPLAUSIBLE
    unasked = both(seen, facts(ntp_offset_ns=None), final(ntp_offset_ns=None))
    assert verdict(unasked(good), required, read_only=True).outcome is Outcome.INCONCLUSIVE


def test_a_chronyd_that_cannot_start_says_why(good: Evidence, required: Required) -> None:
    words = "chronyd does not start: Job for chrony.service failed"
    found = verdict(facts(converged=False, converged_after_s=None, why_not_converged=words)(good), required)
    assert (found.reason, found.sentence) == (Reason.NOT_SYNCHRONISED, words)


def test_a_host_that_is_lost_on_the_way_has_not_failed(good: Evidence, required: Required) -> None:
    found = verdict(parts(slots=None, final_facts=None, lost="the network went away")(good), required)
    assert (found.outcome, found.reason, found.sentence) == (
        Outcome.INCONCLUSIVE,
        Reason.UNREACHABLE,
        "the network went away",
    )


def test_after_a_reboot_the_host_is_judged_as_it_is(good: Evidence, required: Required) -> None:
    unwaited = facts(converged=None, converged_after_s=None, boot_id="another")(good)
    assert verdict(replace(good, rebooted=unwaited), required, depth=Depth.FULL).outcome is Outcome.PASS
    off = no_clock(CAPABLE_OFF, boot_id="another")(parts(samples=None, final_facts=None)(good))
    found = verdict(replace(good, rebooted=off), required, depth=Depth.FULL)
    assert (found.outcome, found.reason) == (Outcome.FAIL, Reason.NOT_PERSISTENT)
    gone = Evidence(launch=good.launch, reach=Reach(reached=False, tries=9, detail="it did not come back"))
    found = verdict(replace(good, rebooted=gone), required, depth=Depth.FULL)
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.UNREACHABLE)


def test_quick_judges_by_the_collection_alone(good: Evidence, required: Required) -> None:
    bare = parts(samples=None, slots=None, final_facts=None)(good)
    found = verdict(bare, required, depth=Depth.QUICK)
    assert (found.outcome, found.sentence) == (
        Outcome.PASS,
        "nobody else steers, converged in 3.2 s, PHC0 selected, depth quick stops after chrony follows: "
        "limits were not measured, API claim agrees",
    )
    assert statuses(found)[RungName.WITHIN_LIMITS] is RungStatus.NOT_REQUIRED


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"read_errors": 1}, Outcome.FAIL, Reason.PHC_UNREADABLE),
        ({"reads": None}, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
        ({"reads": ()}, Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES),
        ({"sources": None}, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
        ({"sources": (), "ntp_offset_ns": None}, Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
        ({"sources": ()}, Outcome.FAIL, Reason.NOT_SYNCHRONISED),
    ],
)
def test_quick_needs_readings_and_a_second_opinion(
    good: Evidence, required: Required, changes: dict[str, object], outcome: Outcome, reason: Reason
) -> None:
    found = verdict(facts(**changes)(good), required, depth=Depth.QUICK)
    assert (found.outcome, found.reason) == (outcome, reason)


def rebooted(good: Evidence) -> Evidence:
    again = facts(boot_id="ffffffff-1111-2222-3333-444444444444")(good)
    return replace(good, rebooted=again)


def test_full_needs_all_of_it_again(good: Evidence, required: Required) -> None:
    full = {"depth": Depth.FULL}
    assert verdict(rebooted(good), required, **full).outcome is Outcome.PASS
    assert (verdict(good, required, **full).outcome, verdict(good, required, **full).reason) == (
        Outcome.INCONCLUSIVE,
        Reason.NOT_OBSERVED,
    )


@pytest.mark.parametrize(
    ("change", "outcome", "reason"),
    [
        (no_clock(CAPABLE_OFF), Outcome.FAIL, Reason.NOT_PERSISTENT),
        (facts(competitors=("ntpd",)), Outcome.FAIL, Reason.NOT_PERSISTENT),
        (drifting(50_000), Outcome.FAIL, Reason.NOT_PERSISTENT),
        (no_clock(CAPABLE_ON, **WORD), Outcome.FAIL, Reason.NOT_PERSISTENT),
        (parts(final_facts=None), Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),
        (
            lambda _: Evidence(
                launch=Launch(failure=None, detail=""), reach=Reach(reached=False, tries=5, detail="timed out")
            ),
            Outcome.INCONCLUSIVE,
            Reason.UNREACHABLE,
        ),
        (parts(), Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED),  # the same boot
    ],
)
def test_what_a_reboot_can_lose(
    good: Evidence, required: Required, change: Change, outcome: Outcome, reason: Reason
) -> None:
    again = change(good)
    if again.facts is not None and again != good:
        again = facts(boot_id="another")(again)
    found = verdict(replace(good, rebooted=again), required, depth=Depth.FULL)
    assert (found.outcome, found.reason) == (outcome, reason)
    assert statuses(found)[RungName.WITHIN_LIMITS] is RungStatus.PROVEN


def test_contradictions_in_both_directions(good: Evidence, required: Required) -> None:
    unsupported = Claim(phc_supported=False, source="DescribeInstanceTypes", date="2026-11-21")
    assert verdict(replace(good, claim=unsupported), required).contradictions == (
        "DescribeInstanceTypes said on 2026-11-21 that the PHC is unsupported, and ena-ptp-05 is there",
    )
    assert verdict(no_clock(CAPABLE_OFF, **WORD)(good), required).contradictions == (
        "DescribeInstanceTypes said on 2026-11-21 that the PHC is supported, "
        "and the driver says that the device has none",
    )
    assert verdict(good, required).contradictions == ()


def test_the_role_s_remedy_goes_before_ours(good: Evidence, required: Required) -> None:
    told = verdict(no_clock(a_driver(), remedy="boot kernel 7.2")(good), required)
    untold = verdict(no_clock(a_driver())(good), required)
    assert (told.remedy, untold.remedy) == (
        "boot kernel 7.2",
        "boot a kernel >= 6.17 or install Amazon's ena driver built with ENA_PHC_INCLUDE=1",
    )


def test_what_was_not_understood_is_told(good: Evidence, required: Required) -> None:
    line = Unparsed(where="facts.json:devlink", line_number=3, line="what", expected="a line of devlink")
    found = verdict(replace(good, unparsed=(line,) * 25), required)
    assert found.unobserved == (
        *("facts.json:devlink:3: 'what' is not a line of devlink",) * 20,
        "and 5 more lines that were not understood",
    )


def test_a_named_other_clock_counts(good: Evidence, required: Required) -> None:
    igb = facts(clocks=(Clock(device="ptp1", name="igb-0", pci=None, max_adjustment_ppb=999),))(good)
    assert verdict(igb, required, clock_names=("igb-*",)).outcome is Outcome.PASS
    assert verdict(igb, required).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("max_adjustment_ppb", "hardware", "remarks"),
    [
        (0, False, ("ptp4l: not applicable, the clock is read-only and there is no TX timestamping",)),
        (999, False, ("ptp4l: not applicable, the card cannot timestamp in hardware what it sends and receives",)),
        (999, True, ("ptp4l: the card can timestamp in hardware, so the chain from ptp4l to chronyd applies",)),
        (0, None, ()),
    ],
)
def test_what_is_said_of_ptp4l(
    good: Evidence, required: Required, max_adjustment_ppb: int, hardware: bool | None, remarks: tuple[str, ...]
) -> None:
    clock = Clock(device="ptp0", name="ena-ptp-05", pci=None, max_adjustment_ppb=max_adjustment_ppb)
    changed = facts(clocks=(clock,), hardware_timestamping=hardware)(good)
    assert verdict(changed, required).remarks == remarks


def test_trouble_does_not_undo_what_was_proven(good: Evidence, required: Required) -> None:
    found = verdict(replace(good, trouble="the archive was not kept"), required)
    assert (found.outcome, "the archive was not kept" in found.remarks) == (Outcome.PASS, True)


def test_why_a_host_could_not_be_had_goes_before_trouble(required: Required) -> None:
    evidence = Evidence(launch=Launch(failure=Reason.CAPACITY, detail="no room"), trouble="something else")
    assert verdict(evidence, required).reason is Reason.CAPACITY


@pytest.mark.parametrize("reason", [Reason.PACKAGES_UNAVAILABLE, Reason.HOST_NOT_READY])
def test_a_trouble_with_a_known_cause_has_the_remedy_of_that_cause(
    good: Evidence, required: Required, reason: Reason
) -> None:
    host = parts(samples=None, final_facts=None, trouble="no room", trouble_reason=reason)(good)
    assert verdict(host, required).remedy == REMEDIES[reason]
    assert verdict(replace(host, trouble_remedy="make room"), required).remedy == "make room"


# --- daemons that do not stay up; leap seconds ------------------------------------------------------------------------


def test_a_ptp4l_that_does_not_stay_up_on_an_ena_card_is_a_remark(good: Evidence, required: Required) -> None:
    found = verdict(both(facts(restarting=("ptp4l",)), final(restarting=("phc2sys@ens5",)))(good), required)
    assert found.outcome is Outcome.PASS
    assert (
        "phc2sys@ens5, ptp4l: started again and again and does not stay up; it steers nothing, and can be disabled"
    ) in found.remarks


def test_a_ptp4l_on_a_clock_that_can_be_steered_counts_however_often_it_starts(
    good: Evidence, required: Required
) -> None:
    clock = Clock(device="ptp1", name="igb-0", pci=None, max_adjustment_ppb=999)
    change = facts(clocks=(clock,), restarting=("ptp4l",))
    assert verdict(change(good), required, clock_names=("igb-*",)).reason is Reason.CLOCK_INTERFERENCE


def leaping(one: Any) -> object:
    return replace(one.tracking, leap="Insert second")


LEAP = "not judged near a leap second, which AWS's NTP servers smear over a day and the PHC does not"


@pytest.mark.parametrize(
    "announced",
    [facts(leap_announced=True), final(leap_announced=True), samples(lambda seq: seq == 7, tracking=leaping)],
)
def test_near_a_leap_second_the_second_opinion_is_not_judged(
    good: Evidence, required: Required, announced: Change
) -> None:
    smeared = both(announced, drifting(50_000))
    assert verdict(drifting(50_000)(good), required).reason is Reason.OUT_OF_LIMITS
    found = verdict(smeared(good), required)
    assert (found.outcome, found.reason, found.remedy) == (
        Outcome.INCONCLUSIVE,
        Reason.NOT_OBSERVED,
        "measure again a day after the leap second",
    )
    assert found.sentence == f"second opinion offset median: {LEAP}"
    assert f"second opinion drift: {LEAP}" in found.unobserved


@pytest.mark.parametrize(("ns", "outcome"), [(1_400_000_000, Outcome.INCONCLUSIVE), (3_600_000_000_000, Outcome.FAIL)])
def test_near_a_leap_second_clock_and_ntp_may_be_a_second_apart(
    good: Evidence, required: Required, ns: int, outcome: Outcome
) -> None:
    found = verdict(both(facts(leap_announced=True), far_phc(ns))(good), required)
    assert (found.outcome, LEAP in found.sentence) == (outcome, outcome is Outcome.INCONCLUSIVE)
    assert verdict(far_phc(ns)(good), required).reason is Reason.PHC_IMPLAUSIBLE


# --- what to do next --------------------------------------------------------------------------------------------------


LINK_LOCAL = ChronySource(
    mode="^", state="?", name="169.254.169.123", stratum=0, poll=4, reach=0, last_rx_s=None, offset_ns=0,
    measured_offset_ns=0, error_ns=0,
)  # fmt: skip


@pytest.mark.parametrize("depth", [Depth.QUICK, Depth.STANDARD])
@pytest.mark.parametrize(
    ("server", "read_only", "evidence", "remedy"),
    [
        (
            "169.254.169.123",
            False,
            "169.254.169.123 was queried",
            "set chrony_phc_second_opinion_address to an NTP server",
        ),
        (
            None,
            True,
            "169.254.169.123 was queried",
            "set clock_facts_ntp_servers to an NTP server that the host can reach",
        ),
        ("192.0.2.7", False, "beside the PHC, so", "see why that NTP server did not answer the host"),
    ],
)
def test_where_no_ntp_server_answered_the_variable_that_helps_is_named(
    good: Evidence,
    required: Required,
    depth: Depth,
    server: str | None,
    read_only: bool,
    evidence: str,
    remedy: str,
) -> None:
    """EC2's link-local server, which the roles ask by default, is not there for a machine of one's own."""
    assert good.facts is not None
    phc = tuple(source for source in good.facts.sources or () if source.mode == "#")
    sources = phc if server is None else (*phc, replace(LINK_LOCAL, name=server))
    change = both(
        facts(sources=sources, ntp_offset_ns=None),
        final(sources=sources, ntp_offset_ns=None),
        samples(every, sources=sources),
    )
    told = verdict(change(good), required, depth=depth, read_only=read_only)
    assert (told.outcome, told.reason) == (Outcome.INCONCLUSIVE, Reason.NOT_OBSERVED)
    assert evidence in told.sentence
    assert (told.remedy or "").startswith(remedy)


@pytest.mark.parametrize("reason", [Reason.CAPACITY, Reason.NOT_OFFERED])
def test_another_zone_is_advised_for_ec2_alone(reason: Reason) -> None:
    assert "on EC2 also" in (REMEDIES[reason] or "")


def test_readings_that_chronyd_does_not_take_are_told_from_a_clock_that_it_does_not_follow(
    good: Evidence, required: Required
) -> None:
    found = verdict(readings_not_taken(good), required)
    assert found.sentence == (
        "the clock serves its readings, and chronyd takes hardly any of them: PHC0 is in state '?', reach 10; "
        "readings took 4 us to 30 us, so programs were delayed on this host"
    )
    assert found.remedy == "restart chronyd, or install chrony 4.7 or later; see whether the processors are busy"


def test_after_a_reboot_readings_that_chronyd_does_not_take_are_no_proof_against_the_host(
    good: Evidence, required: Required
) -> None:
    assert good.facts is not None
    rebooted = readings_not_taken(replace(good, facts=replace(good.facts, boot_id="another"), rebooted=None))
    found = verdict(replace(good, rebooted=rebooted), required, depth=Depth.FULL)
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.READINGS_NOT_TAKEN)
    steady = verdict(replace(good, rebooted=steady_readings(rebooted)), required, depth=Depth.FULL)
    assert (steady.outcome, steady.reason) == (Outcome.FAIL, Reason.NOT_PERSISTENT)
