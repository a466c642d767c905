"""Whole runs of lab guests, from the collected text to the verdict that their truth demands."""

from pathlib import Path

import pytest

from harness.campaign import limits
from harness.ladder import judge
from harness.model import Depth, Evidence, Offer, Placement, Verdict
from harness.probes import facts, samples

LAB = Path(__file__).parents[2] / "data" / "lab"


def verdict(run: str, *, read_only: bool = False) -> Verdict:
    """The verdict on a run's folder. Every line in it is understood, or the test fails."""
    first, unparsed = facts.read_facts((LAB / run / "facts.json").read_text(), where="facts.json")
    evidence = Evidence(
        offer=Offer(available=True, where="this machine"),
        placement=Placement(precise=True, detail="the lab gives every host its clock"),
        facts=first,
    )
    assert unparsed == ()
    if (LAB / run / "samples.jsonl").exists():
        taken, refused, slots = samples.read_samples((LAB / run / "samples.jsonl").read_text(), where="samples.jsonl")
        last, strange = facts.read_facts((LAB / run / "facts-final.json").read_text(), where="facts-final.json")
        assert (refused, strange) == ((), ())
        evidence = Evidence(
            offer=evidence.offer,
            placement=evidence.placement,
            facts=first,
            samples=taken,
            slots=slots,
            final_facts=last,
        )
    return judge(evidence, limits.requirements("lab"), depth=Depth.STANDARD, read_only=read_only)


def test_a_driver_that_the_role_switched_on() -> None:
    found = verdict("driver-off")
    assert (found.outcome, found.reason, found.sentence) == (
        "PASS",
        "synchronised",
        "phc offset median 36.4 us +- 62.7 us, offset p99 38.6 us, chrony bound p99 74.1 us, "
        "error bound not published by this driver, converged in 4.9 s",
    )
    assert {one.quantity: (one.observed, one.samples) for one in found.findings} == {
        "offset_ns": (38_578, 59),
        "chrony_bound_ns": (74_086, 60),
        "error_bound_ns": (None, 0),
        "phc_read_success": (1.0, 1745),
        "phc_offset_ns": (36_401, 60),
        "second_opinion_offset_ns": (295_276, 34),
        "second_opinion_drift_ppb": (pytest.approx(2_899.6, abs=0.1), 34),
        "convergence_s": (4.92, 1),
    }


def test_a_driver_that_knows_no_clock() -> None:
    found = verdict("old-driver")
    assert (found.outcome, found.reason, found.sentence, found.remarks) == (
        "FAIL",
        "driver_not_capable",
        "ena 6.12.107+deb13-cloud-amd64: modinfo lists no phc_enable and devlink no enable_phc",
        (),
    )
    assert found.remedy is not None
    assert found.remedy.startswith("the ena driver of kernel 6.12.107+deb13-cloud-amd64 has neither")


def test_a_clock_that_drifts_by_100_ppm() -> None:
    """chronyd follows it without a complaint; only the second opinion tells."""
    found = verdict("drifting")
    assert (found.outcome, found.reason, found.sentence) == (
        "FAIL",
        "out_of_limits",
        "second opinion offset median 18.3 ms > 5 ms, second opinion drift 96.4 ppm > 50 ppm",
    )
    held = {one.quantity: one.held for one in found.findings}
    assert held == {
        "offset_ns": True,
        "chrony_bound_ns": True,
        "error_bound_ns": None,
        "phc_read_success": True,
        "phc_offset_ns": True,
        "second_opinion_offset_ns": False,
        "second_opinion_drift_ppb": False,
        "convergence_s": True,
    }


def test_a_clock_that_refuses_one_reading_in_fifty() -> None:
    found = verdict("flaky-reads")
    assert (found.outcome, found.reason, found.sentence) == (
        "FAIL",
        "phc_unreadable",
        "1455 readings, 98.01 % served by the driver's counters; at least 99.00 %; the driver says "
        '"[  268.285116] ena 0000:01:00.0 enp1s0: PHC get time request 0x92e failed (error 0x1)": '
        "the device refused a time, as with more than 125 requests a second",
    )


def test_a_chronyd_that_slow_readings_misled() -> None:
    """Every limit holds, and in half of the seconds a reading proves that chrony's bound does not."""
    found = verdict("misled-chronyd")
    assert (found.outcome, found.reason) == ("INCONCLUSIVE", "bound_refuted")
    assert found.sentence == (
        "chrony's bound was refuted in 29 of 60 seconds: 629 us, while a reading of 250 us puts the PHC 1.04 ms from "
        "the system clock; NTP agrees with the readings, so chronyd is wrong"
    )
    assert all(finding.held or finding.observed is None for finding in found.findings)


def test_a_chronyd_that_dropped_the_readings_of_a_good_clock_until_the_last_second() -> None:
    """The last collection finds the clock selected again; the samples tell that its readings were not taken."""
    found = verdict("dropped-readings")
    assert (found.outcome, found.reason) == ("INCONCLUSIVE", "readings_not_taken")
    assert found.sentence == (
        "the clock serves its readings, and chronyd takes hardly any of them: the PHC was selected in 0 of the last 20 "
        "samples; readings took 209 us to 2.11 ms, so programs were delayed on this host"
    )
