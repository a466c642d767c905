"""Each rung alone at its edges: which cause goes before which, what is enough, and what its text says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.limits import Requirement
from harness.ladder import clock_rungs, driver_rungs, host_rungs, limit_rungs
from harness.ladder.case import Case, failed_rung, proven_rung, unobserved_rung
from harness.ladder.findings import compare_with_limits
from harness.model import (
    DEFAULT_CLOCK_NAMES,
    Claim,
    Clock,
    Depth,
    Driver,
    DriverWord,
    Evidence,
    Facts,
    Launch,
    Offer,
    PhcRead,
    Placement,
    Reach,
    Reason,
    Rung,
    RungName,
    RungStatus,
    Sample,
    Tracking,
)

Required = tuple[Requirement, ...]

FAILED, PROVEN, NOT_OBSERVED = RungStatus.FAILED, RungStatus.PROVEN, RungStatus.NOT_OBSERVED


def case(
    evidence: Evidence, required: Required = (), *, depth: Depth = Depth.STANDARD, read_only: bool = False
) -> Case:
    return Case(
        evidence=evidence,
        requirements=required,
        findings=compare_with_limits(evidence, required),
        depth=depth,
        clock_names=DEFAULT_CLOCK_NAMES,
        read_only=read_only,
    )


def facts_of(evidence: Evidence) -> Facts:
    assert evidence.facts is not None
    return evidence.facts


def with_facts(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, facts=replace(facts_of(evidence), **changes))


def with_both(evidence: Evidence, **changes: Any) -> Evidence:
    """Change the first and the closing collection."""
    assert evidence.final_facts is not None
    return replace(with_facts(evidence, **changes), final_facts=replace(evidence.final_facts, **changes))


def sampled(evidence: Evidence, chosen: Callable[[int], bool], **changes: Any) -> Evidence:
    """Change the samples of the chosen slots; a callable value makes the new one from the sample."""
    samples = tuple(
        replace(sample, **{name: value(sample) if callable(value) else value for name, value in changes.items()})
        if chosen(sample.slot)
        else sample
        for sample in evidence.samples or ()
    )
    return replace(evidence, samples=samples)


def every(_slot: int) -> bool:
    return True


def told(rung: Rung) -> tuple[RungStatus, Reason | None, str]:
    return rung.status, rung.reason, rung.evidence


# --- offered, claimed, launched, reached, precise ---------------------------------------------------------------------

RUNS = Launch(failure=None, detail="10.0.0.5 runs")
HERE = Offer(available=True, where="here")
NOWHERE = Offer(available=False, where="here")


@pytest.mark.parametrize(
    ("evidence", "rung"),
    [
        (Evidence(offer=HERE, launch=RUNS), proven_rung(RungName.OFFERED, "a host runs in here")),
        (Evidence(offer=NOWHERE, launch=RUNS), proven_rung(RungName.OFFERED, "a host runs")),
        (Evidence(launch=RUNS), proven_rung(RungName.OFFERED, "a host runs")),
        (Evidence(offer=HERE), proven_rung(RungName.OFFERED, "offered in here")),
        (Evidence(offer=NOWHERE), failed_rung(RungName.OFFERED, Reason.NOT_OFFERED, "not offered in here")),
        (Evidence(), unobserved_rung(RungName.OFFERED, "whether it is offered was not queried")),
        (
            Evidence(offer=HERE, launch=Launch(failure=Reason.NOT_OFFERED, detail="no such type")),
            failed_rung(RungName.OFFERED, Reason.NOT_OFFERED, "no such type"),
        ),
        (
            Evidence(offer=HERE, launch=Launch(failure=Reason.CAPACITY, detail="no room")),
            proven_rung(RungName.OFFERED, "offered in here"),
        ),
    ],
)
def test_whether_a_type_is_offered(evidence: Evidence, rung: Rung) -> None:
    assert host_rungs.judge_offered(case(evidence)) == rung


def test_a_host_that_answered_was_offered_launched_and_reached(good: Evidence) -> None:
    bare = Evidence(facts=good.facts)
    assert host_rungs.judge_offered(case(bare)).evidence == "a host runs"
    assert host_rungs.judge_launched(case(bare)) == proven_rung(RungName.LAUNCHED, "the host answered")
    assert host_rungs.judge_reachable(case(bare)) == proven_rung(RungName.REACHABLE, "SSH with the pinned host key")
    failed = replace(bare, launch=Launch(failure=Reason.CAPACITY, detail="no room"))
    assert host_rungs.judge_launched(case(failed)).evidence == "the host answered"
    assert host_rungs.judge_launched(case(replace(bare, launch=RUNS))).evidence == "10.0.0.5 runs"
    lost = replace(bare, reach=Reach(reached=False, tries=5, detail="timed out"))
    assert host_rungs.judge_reachable(case(lost)).evidence == "SSH with the pinned host key"
    reached = replace(bare, reach=Reach(reached=True, tries=2, detail=""))
    assert host_rungs.judge_reachable(case(reached)).evidence == "SSH with the pinned host key at try 2"


def test_whether_a_host_is_launched_and_reached() -> None:
    assert told(host_rungs.judge_launched(case(Evidence()))) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "no attempt to launch it was recorded",
    )
    assert host_rungs.judge_launched(case(Evidence(launch=RUNS))) == proven_rung(RungName.LAUNCHED, "10.0.0.5 runs")
    refused = Evidence(launch=Launch(failure=Reason.QUOTA, detail="vCPU"))
    assert host_rungs.judge_launched(case(refused)) == failed_rung(RungName.LAUNCHED, Reason.QUOTA, "vCPU")
    assert told(host_rungs.judge_reachable(case(Evidence())))[2] == "no attempt to reach it was recorded"
    for reached, status, text in (
        (Reach(reached=True, tries=3, detail=""), PROVEN, "SSH with the pinned host key at try 3"),
        (Reach(reached=False, tries=3, detail="timed out"), FAILED, "no SSH after 3 tries: timed out"),
    ):
        rung = host_rungs.judge_reachable(case(Evidence(reach=reached)))
        assert (rung.name, rung.status, rung.evidence) == (RungName.REACHABLE, status, text)


def test_a_claim_is_recorded(good: Evidence) -> None:
    def text(claim: Claim | None) -> str:
        rung = host_rungs.record_claim(case(replace(good, claim=claim)))
        assert (rung.name, rung.status) == (RungName.CLAIMED, RungStatus.RECORDED)
        return rung.evidence

    claim = Claim(phc_supported=True, source="EC2", date="2026-11-21")
    assert text(claim) == "EC2 says PHC supported (2026-11-21)"
    assert text(replace(claim, phc_supported=False)) == "EC2 says PHC unsupported (2026-11-21)"
    assert text(None) == "no API claims anything about this type's clock"


IN_GROUP = Placement(precise=True, detail="in a group")
OUTSIDE = Placement(precise=False, detail="outside any group")
UNKNOWN = Placement(precise=None, detail="nobody knows")


@pytest.mark.parametrize(
    ("placement", "clocks", "stratum", "status", "text"),
    [
        (IN_GROUP, (), None, PROVEN, "in a group"),
        (IN_GROUP, None, None, PROVEN, "in a group"),
        (OUTSIDE, (), 1, FAILED, "outside any group, and it has no clock"),
        (OUTSIDE, None, 1, NOT_OBSERVED, "its clocks were not observed"),
        (UNKNOWN, (), 1, PROVEN, "the link-local NTP service answers with stratum 1"),
        (UNKNOWN, (), 2, FAILED, "the link-local NTP service answers with stratum 2"),
        (None, (), 0, FAILED, "the link-local NTP service answers with stratum 0"),
        (
            None,
            (),
            None,
            NOT_OBSERVED,
            "neither its placement nor the link-local NTP service shows whether it has the precision service",
        ),
    ],
)
def test_whether_a_host_without_a_clock_has_the_precision_service(
    good: Evidence,
    placement: Placement | None,
    clocks: tuple[Clock, ...] | None,
    stratum: int | None,
    status: RungStatus,
    text: str,
) -> None:
    evidence = replace(with_facts(good, clocks=clocks, ntp_stratum=stratum), placement=placement)
    rung = host_rungs.judge_precision_host(case(evidence))
    assert (rung.name, rung.status, rung.evidence) == (RungName.PRECISION_HOST, status, text)
    assert rung.reason is {FAILED: Reason.HOST_NOT_PRECISION, NOT_OBSERVED: Reason.NOT_OBSERVED}.get(status)


def test_a_clock_proves_the_precision_service(good: Evidence) -> None:
    rung = host_rungs.judge_precision_host(case(replace(good, placement=OUTSIDE)))
    assert rung == proven_rung(RungName.PRECISION_HOST, "it has the clock ena-ptp-05")


# --- the driver -------------------------------------------------------------------------------------------------------

BARE = Driver(
    pci="0000:00:05.0", interface="eth1", name="ena", version="7.2", phc_parameter=False, phc_parameter_on=None,
    devlink_parameter=False, devlink_on=None,
)  # fmt: skip
WORD: dict[str, Any] = {"driver_word": DriverWord.NOT_SUPPORTED_BY_DEVICE, "driver_word_text": "not supported"}


def driven(good: Evidence, *drivers: Driver, **changes: Any) -> Case:
    values: dict[str, Any] = {"clocks": (), "drivers": drivers, "driver_word": None, **changes}
    return case(with_facts(good, **values))


@pytest.mark.parametrize(
    ("drivers", "changes", "status", "text"),
    [
        ((replace(BARE, phc_parameter=True),), {}, PROVEN, "ena 7.2: modinfo lists phc_enable"),
        ((replace(BARE, devlink_parameter=True),), {}, PROVEN, "ena 7.2: devlink lists enable_phc"),
        ((BARE, replace(BARE, version=None, devlink_parameter=True)), {}, PROVEN, "ena: devlink lists enable_phc"),
        ((BARE,), WORD, PROVEN, 'the driver knows the feature: "not supported"'),
        ((BARE,), {"kernel": "6.1", "kernel_has_ptp": False}, FAILED, "kernel 6.1 is built without PTP clocks"),
        ((BARE,), {"kernel_has_ptp": None}, FAILED, "ena 7.2: modinfo lists no phc_enable and devlink no enable_phc"),
        ((), {}, NOT_OBSERVED, "no ENA device was found on this host"),
        (
            (BARE, replace(BARE, devlink_parameter=None)),
            {},
            NOT_OBSERVED,
            "ena 7.2: not both of modinfo and devlink could be read",
        ),
        (
            (BARE, replace(BARE, phc_parameter=None)),
            {},
            NOT_OBSERVED,
            "ena 7.2: not both of modinfo and devlink could be read",
        ),
        ((BARE,), {"drivers": None}, NOT_OBSERVED, "the driver was not observed"),
    ],
)
def test_whether_a_driver_can_give_a_clock(
    good: Evidence, drivers: tuple[Driver, ...], changes: dict[str, Any], status: RungStatus, text: str
) -> None:
    rung = driver_rungs.judge_driver_capable(driven(good, *drivers, **changes))
    assert (rung.name, rung.status, rung.evidence) == (RungName.DRIVER_CAPABLE, status, text)


PARAMETER_ON = replace(BARE, phc_parameter=True, phc_parameter_on=True)
PARAMETER_OFF = replace(BARE, phc_parameter=True, phc_parameter_on=False)
UNREADABLE = replace(BARE, phc_parameter=True)
DEVLINK_OFF = replace(BARE, devlink_parameter=True, devlink_on=False)
ACTIVE: dict[str, Any] = {"driver_word": DriverWord.ACTIVE, "driver_word_text": "PHC is active"}
START: dict[str, Any] = {"driver_word": DriverWord.NO_MEMORY, "driver_word_text": "Failed to init phc"}
NOT_ENABLED: dict[str, Any] = {"driver_word": DriverWord.NOT_ENABLED, "driver_word_text": "not enabled"}


@pytest.mark.parametrize(
    ("drivers", "changes", "status", "text"),
    [
        ((PARAMETER_ON,), {}, PROVEN, "module parameter phc_enable is on"),
        ((DEVLINK_OFF, replace(DEVLINK_OFF, devlink_on=True)), {}, PROVEN, "devlink enable_phc is on"),
        ((DEVLINK_OFF,), START, PROVEN, 'it tried to start the clock: "Failed to init phc"'),
        (
            (PARAMETER_OFF,),
            START,
            FAILED,
            "module parameter phc_enable is off, and there is no clock",
        ),
        ((UNREADABLE,), ACTIVE, PROVEN, 'the driver says "PHC is active"'),
        ((DEVLINK_OFF,), ACTIVE, PROVEN, 'the driver says "PHC is active"'),
        (
            (DEVLINK_OFF,),
            WORD,
            RungStatus.RECORDED,
            "the driver was asked, and says that the device has no clock",
        ),
        (
            (PARAMETER_OFF, DEVLINK_OFF),
            NOT_ENABLED,
            FAILED,
            "module parameter phc_enable, devlink enable_phc is off, and there is no clock",
        ),
        ((PARAMETER_OFF, UNREADABLE), {}, NOT_OBSERVED, "how the driver is set could not be read"),
        ((PARAMETER_OFF, UNREADABLE), NOT_ENABLED, FAILED, 'the driver says "not enabled"'),
        ((BARE,), {}, NOT_OBSERVED, "how the driver is set could not be read"),
        ((BARE,), {"drivers": None}, NOT_OBSERVED, "the driver was not observed"),
    ],
)
def test_whether_a_driver_is_set_to_give_a_clock(
    good: Evidence, drivers: tuple[Driver, ...], changes: dict[str, Any], status: RungStatus, text: str
) -> None:
    rung = driver_rungs.judge_driver_on(driven(good, *drivers, **changes))
    assert (rung.name, rung.status, rung.evidence) == (RungName.DRIVER_ON, status, text)
    assert rung.reason is {FAILED: Reason.DRIVER_OFF, NOT_OBSERVED: Reason.NOT_OBSERVED}.get(status)


def test_a_clock_proves_the_driver(good: Evidence) -> None:
    assert driver_rungs.judge_driver_capable(case(good)).evidence == "it made ena-ptp-05"
    assert driver_rungs.judge_driver_on(case(good)).evidence == "it made ena-ptp-05"


@pytest.mark.parametrize("changes", [{"facts": None}, {}])
def test_a_driver_without_facts_is_not_observed(good: Evidence, changes: dict[str, Any]) -> None:
    unseen = case(replace(good, **changes)) if changes else driven(good, drivers=None)
    for judge_rung in (driver_rungs.judge_driver_capable, driver_rungs.judge_driver_on):
        assert told(judge_rung(unseen)) == (NOT_OBSERVED, Reason.NOT_OBSERVED, "the driver was not observed")


def test_where_the_clock_is(good: Evidence) -> None:
    linked = driver_rungs.judge_clock_present(case(good))
    assert linked.evidence == "/dev/ptp0 is ena-ptp-05, /dev/ptp_ena -> ptp0"
    assert driver_rungs.judge_clock_present(case(with_facts(good, phc_link=None))).evidence == "/dev/ptp0 is ena-ptp-05"
    others = tuple(Clock(device=f"ptp{n}", name=f"igb-{n}", pci=None, max_adjustment_ppb=9) for n in (1, 2))
    text = driver_rungs.judge_clock_present(driven(good, PARAMETER_ON, clocks=others)).evidence
    assert text == (
        "/sys/class/ptp has only ptp1 igb-1, ptp2 igb-2, without the driver's message that the device has none"
    )
    unseen = driver_rungs.judge_clock_present(driven(good, PARAMETER_ON, clocks=None))
    assert told(unseen) == (NOT_OBSERVED, Reason.NOT_OBSERVED, "its clocks were not observed")


def test_a_device_has_no_clock_only_on_a_host_that_is_placed_for_one(good: Evidence) -> None:
    placed = driver_rungs.judge_clock_present(driven(good, PARAMETER_ON, **WORD))
    assert told(placed) == (
        FAILED,
        Reason.NO_PHC,
        '/sys/class/ptp is empty; the driver\'s own word: "not supported"',
    )
    unplaced = replace(driven(good, PARAMETER_ON, **WORD).evidence, placement=UNKNOWN)
    rung = driver_rungs.judge_clock_present(case(with_facts(unplaced, ntp_stratum=None)))
    assert told(rung)[:2] == (NOT_OBSERVED, Reason.NO_PHC)
    assert rung.evidence.endswith("; whether the host is placed where clocks are provided is not known")


# --- clock readable, by samples ---------------------------------------------------------------------------------------


COUNTED = "3570 readings, 100.00 % served by the driver's counters"


def ahead(sample_ns: int) -> Callable[[Sample], tuple[PhcRead, ...]]:
    """The readings of a sample with the PHC ahead of NTP by so much: 40,050 ns are there already."""

    def reads(sample: Sample) -> tuple[PhcRead, ...]:
        return tuple(replace(read, phc_ns=read.phc_ns + sample_ns - 40_050) for read in sample.reads or ())

    return reads


def readable(evidence: Evidence, required: Required, depth: Depth = Depth.STANDARD) -> Rung:
    return clock_rungs.judge_clock_readable(case(evidence, required, depth=depth))


@pytest.mark.parametrize(
    ("apart_ns", "status", "text"),
    [
        (
            1_000_000_000,
            PROVEN,
            f"{COUNTED}, never back in time, 1 s from NTP",
        ),
        (1_000_000_001, FAILED, "the PHC is 1 s from NTP"),
    ],
)
def test_a_clock_is_plausible_up_to_a_second_from_ntp(
    good: Evidence, required: Required, apart_ns: int, status: RungStatus, text: str
) -> None:
    rung = readable(sampled(good, every, reads=ahead(apart_ns)), required)
    assert told(rung) == (status, Reason.PHC_IMPLAUSIBLE if status is FAILED else None, text)


@pytest.mark.parametrize(("apart_ns", "status"), [(2_000_000_000, NOT_OBSERVED), (2_000_000_001, FAILED)])
def test_near_a_leap_second_a_clock_may_be_another_second_from_ntp(
    good: Evidence, required: Required, apart_ns: int, status: RungStatus
) -> None:
    leaping = with_facts(sampled(good, every, reads=ahead(apart_ns)), leap_announced=True)
    assert readable(leaping, required).status is status


def test_half_of_the_answers_decide_whether_the_clock_is_plausible(good: Evidence, required: Required) -> None:
    """60 samples have a fresh answer, 30 of them before the 60th slot. A lost one may have been anything."""
    far = ahead(5_000_000_000)
    half = sampled(good, lambda slot: slot >= 60, reads=far)
    assert readable(half, required).status is PROVEN
    assert readable(sampled(good, lambda slot: slot >= 57, reads=far), required).status is FAILED
    unasked = readable(sampled(half, lambda slot: slot == 1, sources=None), required)
    assert told(unasked) == (NOT_OBSERVED, Reason.NOT_OBSERVED, f"{COUNTED}, but samples are missing")


def test_one_burst_that_is_missing_could_be_the_one_that_went_back(good: Evidence, required: Required) -> None:
    rung = readable(sampled(good, lambda slot: slot == 7, reads=None), required)
    assert told(rung) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        f"{COUNTED}, but samples are missing",
    )


def test_too_many_refusals_go_before_everything_else(good: Evidence, required: Required) -> None:
    def counters(sample: Sample) -> Any:
        return sample.counters and replace(sample.counters, err_ts=30 * sample.slot)

    rung = readable(sampled(good, every, counters=counters, reads=ahead(10**12)), required)
    assert told(rung) == (
        FAILED,
        Reason.PHC_UNREADABLE,
        "7140 readings, 50.00 % served by the driver's counters; at least 99.00 %",
    )


def test_a_clock_that_goes_back_is_named_before_its_distance_from_ntp(good: Evidence, required: Required) -> None:
    backwards = sampled(good, lambda slot: slot == 50, reads=ahead(-5_000_000_000))
    rung = readable(sampled(backwards, lambda slot: slot > 50, reads=ahead(10**12)), required)
    assert rung.evidence == "the PHC went back in time between two readings"


def test_samples_without_a_count_of_readings_prove_nothing(good: Evidence, required: Required) -> None:
    for evidence, limits in ((replace(good, samples=None), required), (good, ())):
        assert told(readable(evidence, limits)) == (NOT_OBSERVED, Reason.NOT_OBSERVED, "no samples were taken")


def test_few_readings_are_too_few_however_good_they_are(good: Evidence, required: Required) -> None:
    few = replace(good, samples=(good.samples or ())[:4], slots=4)
    assert told(readable(few, required)) == (
        NOT_OBSERVED,
        Reason.TOO_FEW_SAMPLES,
        "90 readings, 100.00 % served by the driver's counters: too few, or not all were seen",
    )
    uncounted = readable(with_facts(good, counters_published=None), required)
    assert told(uncounted) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "0 readings, none counted: too few, or not all were seen",
    )


# --- clock readable, without chronyd ----------------------------------------------------------------------------------


def alone(good: Evidence, offset_ns: int | None) -> Evidence:
    """No chronyd: the collections queried an NTP server, which the system clock is ahead of by so much."""
    silent = with_both(good, sources=None, tracking=None, ntp_offset_ns=offset_ns)
    return sampled(silent, every, sources=None, tracking=None)


@pytest.mark.parametrize(
    ("offset_ns", "status", "text"),
    [
        (999_999_950, PROVEN, f"{COUNTED}, never back in time, 1 s from NTP by one query"),
        (999_999_951, FAILED, "the PHC is 1 s from NTP"),
        (-1_000_000_050, PROVEN, f"{COUNTED}, never back in time, 1 s from NTP by one query"),
        (-1_000_000_051, FAILED, "the PHC is 1 s from NTP"),
    ],
)  # fmt: skip
def test_without_chronyd_one_query_tells_whether_the_clock_is_plausible(
    good: Evidence, required: Required, offset_ns: int, status: RungStatus, text: str
) -> None:
    rung = readable(alone(good, offset_ns), required)
    assert told(rung) == (status, Reason.PHC_IMPLAUSIBLE if status is FAILED else None, text)


def test_without_chronyd_the_worse_of_both_collections_counts(good: Evidence, required: Required) -> None:
    evidence = alone(good, 0)
    assert evidence.final_facts is not None
    late = replace(evidence, final_facts=replace(evidence.final_facts, ntp_offset_ns=5_000_000_000))
    assert readable(late, required).status is FAILED
    assert readable(with_facts(evidence, ntp_offset_ns=5_000_000_000), required).status is FAILED
    assert readable(with_facts(evidence, ntp_offset_ns=None), required).status is PROVEN
    assert readable(replace(evidence, final_facts=None), required).status is PROVEN


def test_without_chronyd_missing_samples_and_few_readings_prevent_a_proof(good: Evidence, required: Required) -> None:
    evidence = alone(good, 0)
    few = readable(replace(evidence, samples=(evidence.samples or ())[:4], slots=4), required)
    assert told(few) == (
        NOT_OBSERVED,
        Reason.TOO_FEW_SAMPLES,
        "90 readings, 100.00 % served by the driver's counters: too few, or not all were seen",
    )
    unread = readable(sampled(evidence, lambda slot: slot == 7, reads=None), required)
    assert told(unread) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        f"{COUNTED}, but samples are missing",
    )
    unasked = readable(alone(good, None), required)
    assert told(unasked) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "no NTP source answered beside the PHC (169.254.169.123 was queried, which answers only in EC2), "
        "so its time could not be checked",
    )


# --- clock readable, by one burst -------------------------------------------------------------------------------------


def burst(good: Evidence, count: int, phc_step_ns: int = 0, apart_ns: int = 0) -> Evidence:
    """One collection with so many readings, the PHC of each later by so much, ahead of NTP by `apart_ns`."""
    reads = tuple(
        PhcRead(before_ns=10**9, phc_ns=10**9 + 2_000 + number * phc_step_ns, after_ns=10**9 + 4_000)
        for number in range(count)
    )
    return with_facts(good, reads=reads, read_errors=0, sources=(), ntp_offset_ns=apart_ns)


@pytest.mark.parametrize(
    ("evidence_of", "rung"),
    [
        (
            lambda good: burst(good, 5),
            (PROVEN, None, "5 of 5 readings served, never back in time, the PHC is 0 ns from NTP"),
        ),
        (lambda good: burst(good, 4), (NOT_OBSERVED, Reason.TOO_FEW_SAMPLES, "only 4 of 4 readings")),
        (
            lambda good: burst(good, 5, phc_step_ns=-1),
            (FAILED, Reason.PHC_IMPLAUSIBLE, "the PHC went back in time between two readings"),
        ),
        (
            lambda good: burst(good, 5, apart_ns=-1_000_000_000),
            (PROVEN, None, "5 of 5 readings served, never back in time, the PHC is -1 s from NTP"),
        ),
        (
            lambda good: burst(good, 5, apart_ns=-1_000_000_001),
            (FAILED, Reason.PHC_IMPLAUSIBLE, "the PHC is -1 s from NTP"),
        ),
        (
            lambda good: with_facts(burst(good, 5, apart_ns=1_500_000_000), leap_announced=True),
            (
                NOT_OBSERVED,
                Reason.NOT_OBSERVED,
                "the PHC is 1.5 s from NTP: not judged near a leap second, which AWS's NTP servers smear over a day "
                "and the PHC does not",
            ),
        ),
        (
            lambda good: with_facts(burst(good, 5), read_errors=2),
            (FAILED, Reason.PHC_UNREADABLE, "5 of 7 readings served"),
        ),
        (
            lambda good: with_facts(burst(good, 5), reads=None),
            (NOT_OBSERVED, Reason.NOT_OBSERVED, "the clock was not read"),
        ),
        (
            lambda good: with_facts(burst(good, 5), read_errors=None),
            (NOT_OBSERVED, Reason.NOT_OBSERVED, "the clock was not read"),
        ),
        (lambda good: replace(good, facts=None), (NOT_OBSERVED, Reason.NOT_OBSERVED, "the clock was not read")),
    ],
)  # fmt: skip
def test_one_burst_of_five_readings_is_enough_for_depth_quick(
    good: Evidence, required: Required, evidence_of: Callable[[Evidence], Evidence], rung: tuple[Any, ...]
) -> None:
    assert told(readable(evidence_of(good), required, Depth.QUICK)) == rung


def test_chronyds_last_answer_goes_before_our_own_query(good: Evidence, required: Required) -> None:
    hour_ns = 3_600_000_000_000
    assert readable(with_facts(good, ntp_offset_ns=hour_ns), required, Depth.QUICK).status is PROVEN
    phc, server = facts_of(good).sources or ()
    silent = (phc, replace(server, reach=0))
    assert readable(with_facts(good, sources=silent, ntp_offset_ns=hour_ns), required, Depth.QUICK).status is FAILED
    assert readable(with_facts(good, sources=silent, ntp_offset_ns=0), required, Depth.QUICK).status is PROVEN


# --- chrony follows ---------------------------------------------------------------------------------------------------


def follows(evidence: Evidence, required: Required = (), **how: Any) -> Rung:
    return clock_rungs.judge_chrony_follows(case(evidence, required, **how))


def unselected(share_of_second_half: int) -> Callable[[int], bool]:
    """The last so many of 120 samples."""
    return lambda slot: slot >= 120 - share_of_second_half


def state(text: str) -> Callable[[Sample], Any]:
    return lambda sample: (replace((sample.sources or ())[0], state=text), *(sample.sources or ())[1:])


@pytest.mark.parametrize(("count", "status"), [(6, PROVEN), (7, FAILED)])
def test_the_phc_is_selected_in_nine_tenths_of_the_second_half(good: Evidence, count: int, status: RungStatus) -> None:
    rung = follows(sampled(good, unselected(count), sources=state("?")))
    assert rung.status is status
    assert f"selected in {60 - count} of the last 60 samples" in rung.evidence
    assert follows(sampled(good, lambda slot: slot < 60, sources=state("?"))).status is PROVEN


@pytest.mark.parametrize(("count", "status"), [(6, PROVEN), (7, NOT_OBSERVED)])
def test_samples_without_sources_may_have_been_either(good: Evidence, count: int, status: RungStatus) -> None:
    rung = follows(sampled(good, unselected(count), sources=None))
    assert rung.status is status
    text = f"selected in {60 - count} of the last 60 samples"
    assert (f"the PHC was {text}, and others are missing" if status is NOT_OBSERVED else text) in rung.evidence


def test_samples_that_end_too_early_leave_open_whether_chronyd_follows(good: Evidence) -> None:
    rung = follows(replace(good, slots=None))
    assert told(rung) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "the PHC was selected in 60 of the last 60 samples, and others are missing",
    )
    assert told(follows(replace(good, samples=())))[2] == "no samples were taken"


def test_an_odd_number_of_slots_has_the_middle_one_in_its_second_half(good: Evidence) -> None:
    three = replace(good, samples=(good.samples or ())[:3], slots=3)
    assert "selected in 2 of the last 2 samples" in follows(three).evidence
    assert follows(sampled(three, lambda slot: slot == 1, sources=state("?"))).status is FAILED


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chronyd_runs": False, "sources": None}, "chronyd does not run"),
        ({"sources": ()}, "chronyd has no PHC among its sources"),
    ],
)
def test_a_chronyd_without_the_clock_is_told(good: Evidence, changes: dict[str, Any], text: str) -> None:
    assert good.final_facts is not None
    rung = follows(replace(good, final_facts=replace(good.final_facts, **changes)))
    assert told(rung) == (FAILED, Reason.NOT_SYNCHRONISED, text)


def test_sources_that_were_not_observed_prove_nothing(good: Evidence) -> None:
    assert good.final_facts is not None
    for changes in ({"sources": None, "chronyd_runs": True}, {"sources": None, "chronyd_runs": None}):
        rung = follows(replace(good, final_facts=replace(good.final_facts, **changes)))
        assert told(rung) == (NOT_OBSERVED, Reason.NOT_OBSERVED, "chronyd's sources were not observed")


def closing(good: Evidence, phc: dict[str, Any], server: dict[str, Any]) -> Evidence:
    """Change both sources of the closing collection."""
    assert good.final_facts is not None
    refclock, ntp = good.final_facts.sources or ()
    sources = (replace(refclock, **phc), replace(ntp, **server))
    return replace(good, final_facts=replace(good.final_facts, sources=sources))


def test_the_source_that_is_selected_instead_is_named(good: Evidence) -> None:
    rung = follows(closing(good, {"state": "+"}, {"state": "*"}))
    assert told(rung) == (
        FAILED,
        Reason.NOT_SYNCHRONISED,
        "PHC0 is in state '+', reach 377; 169.254.169.123 is selected instead",
    )
    renamed = follows(closing(good, {"name": "GPS0"}, {}))
    assert renamed.evidence == "chronyd has no PHC among its sources; GPS0 is selected instead"
    assert follows(closing(good, {"mode": "^"}, {})).status is FAILED


@pytest.mark.parametrize(
    ("reach", "reason"),
    [(0o0, Reason.READINGS_NOT_TAKEN), (0o7, Reason.READINGS_NOT_TAKEN), (0o17, Reason.NOT_SYNCHRONISED)],
)
def test_chronyd_takes_the_readings_when_it_got_four_of_the_last_eight(
    good: Evidence, reach: int, reason: Reason
) -> None:
    assert follows(closing(good, {"state": "?", "reach": reach}, {})).reason is reason


def dropping(reach: int) -> Callable[[Sample], Any]:
    return lambda sample: (replace((sample.sources or ())[0], state="?", reach=reach), *(sample.sources or ())[1:])


@pytest.mark.parametrize(
    ("reach", "reason"),
    [(0o0, Reason.READINGS_NOT_TAKEN), (0o100, Reason.READINGS_NOT_TAKEN), (0o17, Reason.NOT_SYNCHRONISED)],
)
def test_readings_that_chronyd_did_not_take_are_told_though_it_selects_the_clock_again_at_the_end(
    good: Evidence, reach: int, reason: Reason
) -> None:
    rung = follows(sampled(good, unselected(40), sources=dropping(reach)))
    assert (rung.reason, "the PHC was selected in 20 of the last 60 samples" in rung.evidence) == (reason, True)


@pytest.mark.parametrize(("count", "reason"), [(30, Reason.NOT_SYNCHRONISED), (31, Reason.READINGS_NOT_TAKEN)])
def test_most_samples_without_the_clock_must_say_that_its_readings_were_not_taken(
    good: Evidence, count: int, reason: Reason
) -> None:
    all_unselected = sampled(good, every, sources=state("?"))
    assert follows(sampled(all_unselected, unselected(count), sources=dropping(0))).reason is reason
    first_half = sampled(all_unselected, lambda slot: slot < 60, sources=dropping(0))
    assert follows(first_half).reason is Reason.NOT_SYNCHRONISED


def lasting(fast_ns: int, slow_ns: int, slow_count: int) -> Callable[[Sample], tuple[PhcRead, ...]]:
    """Ten readings, of which so many are slow."""

    def reads(sample: Sample) -> tuple[PhcRead, ...]:
        spans = [slow_ns] * slow_count + [fast_ns] * (10 - slow_count)
        return tuple(PhcRead(before_ns=0, phc_ns=0, after_ns=span) for span in spans)

    return reads


@pytest.mark.parametrize(
    ("slow_ns", "slow_count", "status"),
    [
        (15_000, 2, FAILED),
        (15_001, 2, NOT_OBSERVED),
        (90_000, 1, FAILED),
        (15_001, 9, NOT_OBSERVED),
        (90_000, 10, FAILED),
    ],
)
def test_readings_varied_when_a_slow_one_takes_more_than_three_times_as_long_as_a_fast_one(
    good: Evidence, slow_ns: int, slow_count: int, status: RungStatus
) -> None:
    dropped = closing(good, {"state": "?", "reach": 0o10}, {})
    rung = follows(sampled(dropped, every, reads=lasting(5_000, slow_ns, slow_count)))
    assert (rung.status, rung.reason) == (status, Reason.READINGS_NOT_TAKEN)
    assert ("programs were delayed on this host" in rung.evidence) is (status is NOT_OBSERVED)


def test_without_samples_the_readings_of_the_collection_tell_whether_they_varied(good: Evidence) -> None:
    refclock, server = facts_of(good).sources or ()
    dropped = with_facts(good, sources=(replace(refclock, state="?", reach=0), server))
    quick = replace(dropped, samples=None, slots=None, final_facts=None)
    assert follows(quick, depth=Depth.QUICK).status is NOT_OBSERVED
    assert follows(with_facts(quick, reads=None), depth=Depth.QUICK).status is FAILED
    steady = tuple((facts_of(good).reads or ())[2:3]) * 5
    assert follows(with_facts(quick, reads=steady), depth=Depth.QUICK).status is FAILED
    assert "programs were delayed" not in follows(with_facts(quick, reads=()), depth=Depth.QUICK).evidence


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ({"converged": False, "converged_after_s": None}, "chronyd did not converge in the time that it had"),
        ({"converged": True, "converged_after_s": None}, None),
        ({"converged": None}, None),
        ({"converged_after_s": 120.0}, "converged in 120.0 s"),
        ({"converged_after_s": 120.04}, "converged in 120.0 s, later than 120 s"),
        ({"chronyd_starts": 1}, "converged in 3.2 s"),
        ({"chronyd_starts": None}, "converged in 3.2 s"),
        ({"chronyd_starts": 2}, "converged in 3.2 s at start 2"),
    ],
)
def test_when_chronyd_converged(good: Evidence, required: Required, changes: dict[str, Any], rung: str | None) -> None:
    text = rung or "whether chronyd converged was not observed"
    assert text in follows(with_facts(good, **changes), required).evidence
    observed = follows(with_facts(good, **changes), required, read_only=True)
    assert (observed.status, "converged" in observed.evidence) == (PROVEN, False)


def test_of_several_programs_that_steer_each_is_named_once(good: Evidence) -> None:
    evidence = with_both(good, competitors=("ntpd", "chronyd-2"))
    assert follows(evidence).evidence == "chronyd-2, ntpd also steers the clock"
    assert follows(with_facts(good, interference=True)).evidence == (
        'chronyd logged "System clock interference detected"'
    )


@pytest.mark.parametrize("changes", [{"competitors": None}, {"interference": None}])
def test_whether_another_program_steers_is_needed_in_both_collections(good: Evidence, changes: dict[str, Any]) -> None:
    assert good.final_facts is not None
    first, last = with_facts(good, **changes), replace(good, final_facts=replace(good.final_facts, **changes))
    for evidence in (first, last):
        assert told(follows(evidence)) == (
            NOT_OBSERVED,
            Reason.NOT_OBSERVED,
            "whether another program steers the clock was not observed",
        )


@pytest.mark.parametrize(
    ("name", "max_adjustment_ppb", "read_only"),
    [
        ("ena-ptp-05", 999, True),
        ("igb-0", 0, True),
        ("igb-0", 1, False),
        ("igb-0", None, False),
        ("my-ena-ptp-", 1, False),
    ],
)
def test_a_clock_that_cannot_be_adjusted_or_of_an_ena_card_is_read_only(
    name: str, max_adjustment_ppb: int | None, read_only: bool
) -> None:
    clock = Clock(device="ptp0", name=name, pci=None, max_adjustment_ppb=max_adjustment_ppb)
    assert clock_rungs.is_read_only(clock) is read_only


def test_the_burst_of_depth_quick_is_held_against_chronys_bound(good: Evidence) -> None:
    quick = replace(good, samples=None, slots=None, final_facts=None)
    assert told(follows(quick, depth=Depth.QUICK)) == (
        PROVEN,
        None,
        "nobody else steers, converged in 3.2 s, PHC0 selected",
    )
    uncompared = follows(with_facts(quick, tracking=None), depth=Depth.QUICK)
    assert told(uncompared) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "chrony's bound could not be held against a reading",
    )


# --- within limits, survives a reboot ---------------------------------------------------------------------------------


def tracked(**changes: int) -> Callable[[Sample], Tracking | None]:
    return lambda sample: sample.tracking and replace(sample.tracking, **changes)


def within(evidence: Evidence, required: Required) -> Rung:
    return limit_rungs.judge_within_limits(case(evidence, required))


def test_a_broken_limit_goes_before_what_was_not_observed(good: Evidence, required: Required) -> None:
    unread = sampled(good, every, reads=None)
    drifting = sampled(
        unread, every, tracking=lambda sample: sample.tracking and replace(sample.tracking, last_offset_ns=5_000)
    )
    rung = within(drifting, required)
    assert told(rung) == (FAILED, Reason.OUT_OF_LIMITS, "offset p99 5 us > 1 us")


def test_every_broken_limit_is_listed(good: Evidence, required: Required) -> None:
    worse = sampled(good, every, tracking=tracked(last_offset_ns=5_000, root_dispersion_ns=90_000))
    assert within(worse, required).evidence == (
        "offset p99 5 us > 1 us, chrony bound p99 95 us > 25 us, error bound max 115 us > 50 us"
    )


def test_too_few_samples_go_before_samples_that_are_missing(good: Evidence, required: Required) -> None:
    """One lost device bound leaves its limit open; 59 slots are too few for chrony's bound."""
    short = replace(good, samples=(good.samples or ())[:59], slots=59)
    (offset,) = [limit for limit in required if limit.quantity == "second_opinion_offset_ns"]
    silent = sampled(short, every, sources=None)
    rung = within(silent, (offset, *[limit for limit in required if limit.quantity == "chrony_bound_ns"]))
    assert told(rung) == (
        NOT_OBSERVED,
        Reason.TOO_FEW_SAMPLES,
        "chrony bound p99: 59 of at least 60 samples",
    )
    assert told(within(silent, (offset,))) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "second opinion offset median: 0 of at least 5 samples",
    )


def test_without_limits_nothing_is_within_them(good: Evidence) -> None:
    assert told(within(good, ())) == (NOT_OBSERVED, Reason.NOT_OBSERVED, "there are no limits to compare it with")


def test_a_second_without_a_reading_is_counted(good: Evidence, required: Required) -> None:
    (offset,) = [limit for limit in required if limit.quantity == "offset_ns"]
    rung = within(sampled(good, lambda slot: slot in (7, 9), reads=None), (offset,))
    assert told(rung) == (
        NOT_OBSERVED,
        Reason.NOT_OBSERVED,
        "in 2 of 120 seconds chrony's bound could not be held against a reading",
    )
    assert within(good, (offset,)) == proven_rung(RungName.WITHIN_LIMITS, "offset p99 84 ns")


def survived(good: Evidence, after: Rung | None, boot_id: str | None, *, depth: Depth = Depth.FULL) -> Rung:
    rebooted = with_facts(good, boot_id=boot_id)
    return limit_rungs.judge_survives_reboot(case(replace(good, rebooted=rebooted), depth=depth), after)


def test_what_a_reboot_proves(good: Evidence) -> None:
    name = RungName.SURVIVES_REBOOT
    boot_id = facts_of(good).boot_id
    assert survived(good, None, "another") == proven_rung(name, "all rungs proven again after a reboot")
    for same_or_unknown in (boot_id, None):
        assert told(survived(good, None, same_or_unknown))[2] == "a new boot id was not observed"
    unknown_before = replace(with_facts(good, boot_id=None), rebooted=good)
    assert told(limit_rungs.judge_survives_reboot(case(unknown_before, depth=Depth.FULL), None))[0] is NOT_OBSERVED
    without_facts = replace(good, facts=None, rebooted=replace(good, facts=None))
    assert told(limit_rungs.judge_survives_reboot(case(without_facts, depth=Depth.FULL), None))[0] is NOT_OBSERVED
    assert told(limit_rungs.judge_survives_reboot(case(good, depth=Depth.FULL), None))[2] == "it was not rebooted"
    standard = survived(good, None, "another", depth=Depth.STANDARD)
    assert (standard.name, standard.status, standard.evidence) == (
        name,
        RungStatus.NOT_REQUIRED,
        "depth standard does not reboot",
    )


@pytest.mark.parametrize("name", RungName)
def test_a_rung_that_fails_after_a_reboot_is_lost_unless_the_host_was_not_there(good: Evidence, name: RungName) -> None:
    rung = survived(good, failed_rung(name, Reason.DRIVER_OFF, "it is off"), "another")
    if name in (RungName.OFFERED, RungName.LAUNCHED, RungName.REACHABLE, RungName.PRECISION_HOST):
        assert told(rung) == (NOT_OBSERVED, Reason.DRIVER_OFF, "after a reboot: it is off")
    else:
        title = name.value.replace("_", " ")
        assert told(rung) == (FAILED, Reason.NOT_PERSISTENT, f"after a reboot {title} failed: it is off")


def test_a_rung_that_was_not_observed_after_a_reboot_keeps_its_reason(good: Evidence) -> None:
    after = unobserved_rung(RungName.CLOCK_READABLE, "few", Reason.TOO_FEW_SAMPLES)
    assert told(survived(good, after, "another")) == (NOT_OBSERVED, Reason.TOO_FEW_SAMPLES, "after a reboot: few")
    assert told(survived(good, replace(after, reason=None), "another"))[1] is Reason.NOT_OBSERVED
