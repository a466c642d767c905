"""Claims against measurements: which measurement counts, when the two contradict, and what is exported."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import ladder
from harness.analysis import claims
from harness.analysis.claims import COLUMNS, Measurement, TypeKnowledge
from harness.campaign import limits
from harness.model import Claim, Depth, DriverWord, Evidence, HostRecord, HostState, Outcome, Reason

START_NS = 1_795_233_824 * 10**9


def seen(name: str = "m7i.large", **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "instance_type": name,
        "region": "eu-north-1",
        "zone": "eu-north-1a",
        "image": "al2023",
        "run": "k3f9",
        "date": "2026-11-21T10:00:00+00:00",
        "outcome": Outcome.PASS,
        "reason": Reason.SYNCHRONISED,
        "clock": True,
        "kernel": "6.12",
        "driver": "2.17.0g",
        "chrony": "4.6.1",
        "claim": None,
    }
    return Measurement(**(values | changes))


NO_PHC: dict[str, Any] = {"outcome": Outcome.UNSUPPORTED, "reason": Reason.NO_PHC, "clock": False}
NO_ROOM: dict[str, Any] = {"outcome": Outcome.INCONCLUSIVE, "reason": Reason.CAPACITY, "clock": None}


@pytest.mark.parametrize(
    ("claim", "measured", "words"),
    [
        (True, seen(), None),
        (False, seen(**NO_PHC), None),
        (False, seen(), "the API says unsupported, and a clock was there on 2026-11-21 in eu-north-1a (run k3f9)"),
        (
            False,
            seen(outcome=Outcome.FAIL, reason=Reason.OUT_OF_LIMITS, zone=None),
            "the API says unsupported, and a clock was there on 2026-11-21 (run k3f9)",
        ),
        (
            True,
            seen(**NO_PHC),
            "the API says supported, and the driver said that the device has none "
            "on 2026-11-21 in eu-north-1a (run k3f9)",
        ),
        (False, seen(**NO_ROOM), None),
        (True, seen(**NO_ROOM), None),
        (None, seen(), None),
        (None, seen(**NO_PHC), None),
        (True, None, None),
    ],
)
def test_contradictions(claim: bool | None, measured: Measurement | None, words: str | None) -> None:
    assert claims.describe_contradiction(claim, measured) == words


def test_what_found_nothing_out_hides_nothing() -> None:
    """A later host without capacity says nothing of the clock that was measured before."""
    passed, later = seen(), seen(date="2026-11-22T10:00:00+00:00", run="zzzz", **NO_ROOM)
    older = seen(date="2026-11-01T10:00:00+00:00", run="aaaa", **NO_PHC)
    assert claims.choose_newest([later, passed, older]) == {"m7i.large": passed}
    assert claims.choose_newest([later]) == {"m7i.large": later}


def test_every_type_and_what_is_claimed_no_more() -> None:
    gone = seen("x1.large")
    assert claims.join_measurements({"a.b": True, "m7i.large": False}, [seen(), gone]) == (
        TypeKnowledge(instance_type="a.b", claim=True, measured=None, contradiction=None),
        TypeKnowledge(
            instance_type="m7i.large",
            claim=False,
            measured=seen(),
            contradiction="the API says unsupported, and a clock was there on 2026-11-21 in eu-north-1a (run k3f9)",
        ),
        TypeKnowledge(instance_type="x1.large", claim=None, measured=gone, contradiction=None),
    )


def record(evidence: Evidence, **changes: Any) -> HostRecord:
    verdict = ladder.judge(evidence, limits.requirements("ec2"), depth=Depth.STANDARD, read_only=False)
    values: dict[str, Any] = {
        "name": "m7i.large",
        "instance_type": "m7i.large",
        "verdict": verdict,
        "facts": evidence.facts,
        "stages": {},
        "state": HostState.RELEASED,
        "address": None,
    }
    return HostRecord(**(values | changes))


def test_a_record_in_these_words(good: Evidence) -> None:
    whole = record(good, zone="eu-north-1a", region="eu-north-1", image="ami-1", claim=good.claim)
    found = claims.to_measurement(whole, run="k3f9", started_ns=START_NS, region="eu-west-1", image="al2023")
    assert found == Measurement(
        instance_type="m7i.large",
        region="eu-north-1",
        zone="eu-north-1a",
        image="ami-1",
        run="k3f9",
        date="2026-11-21T04:03:44+00:00",
        outcome=Outcome.PASS,
        reason=Reason.SYNCHRONISED,
        clock=True,
        kernel="6.12.107+deb13-amd64",
        driver="2.17.0g",
        chrony="4.6.1",
        claim=Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-21"),
    )


def test_a_record_of_an_early_version_has_its_campaigns_region_and_image() -> None:
    found = claims.to_measurement(
        record(Evidence()), run="k3f9", started_ns=START_NS, region="eu-west-1", image="al2023"
    )
    assert (found.region, found.image, found.claim, found.clock, found.kernel) == (
        "eu-west-1",
        "al2023",
        None,
        None,
        None,
    )


def test_the_rung_of_the_clock_alone_shows_whether_there_is_one(good: Evidence) -> None:
    """A host that runs and answers has proven other rungs: that says nothing of its clock."""
    assert good.facts is not None
    no_clock = replace(good, facts=replace(good.facts, clocks=()), final_facts=None, samples=None, slots=None)
    assert no_clock.facts is not None
    denied = replace(no_clock.facts, driver_word=DriverWord.NOT_SUPPORTED_BY_DEVICE, driver_word_text="not supported")
    for evidence, clock in ((no_clock, None), (replace(no_clock, facts=denied), False)):
        found = claims.to_measurement(record(evidence), run="k3f9", started_ns=START_NS, region=None, image=None)
        assert found.clock is clock


def test_what_a_verdict_does_not_hold_is_empty_in_the_table() -> None:
    unknown = dict.fromkeys(("region", "zone", "image", "kernel", "driver", "chrony"))
    (row,) = claims.build_export_rows({"m7i.large": False}, [seen(**NO_ROOM, **unknown)], region="r", taken=None)
    assert row == {
        **dict.fromkeys(COLUMNS, ""),
        "region": "r",
        "instance_type": "m7i.large",
        "claim": "unsupported",
        "outcome": "INCONCLUSIVE",
        "reason": "capacity",
        "date": "2026-11-21T10:00:00+00:00",
        "run": "k3f9",
    }


def test_a_verdict_has_the_region_in_which_it_was_measured() -> None:
    (row,) = claims.build_export_rows({}, [seen(region="eu-west-1")], region="eu-north-1", taken=None)
    assert row["region"] == "eu-west-1"


def test_the_table_has_every_verdict_and_every_type() -> None:
    taken = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    then = Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-01")
    older = seen(date="2026-11-01T10:00:00+00:00", run="aaaa", zone=None, driver=None, claim=then, **NO_PHC)
    rows = claims.build_export_rows({"a.b": None, "m7i.large": True}, [seen(), older], region="eu-north-1", taken=taken)
    empty = dict.fromkeys(COLUMNS, "")
    common = {"region": "eu-north-1", "instance_type": "m7i.large", "claim": "supported", "claim_date": "2026-11-20"}
    measured = {"image": "al2023", "kernel": "6.12", "chrony": "4.6.1"}
    assert rows == [
        {**empty, "region": "eu-north-1", "instance_type": "a.b"},
        {
            **empty,
            **common,
            **measured,
            "outcome": "UNSUPPORTED",
            "reason": "no_phc",
            "clock": "no",
            "date": "2026-11-01T10:00:00+00:00",
            "claim_then": "supported",
            "claim_then_date": "2026-11-01",
            "contradiction": "the API says supported, and the driver said that the device has none "
            "on 2026-11-01 (run aaaa)",
            "run": "aaaa",
        },
        {
            **empty,
            **common,
            **measured,
            "outcome": "PASS",
            "reason": "synchronised",
            "clock": "yes",
            "date": "2026-11-21T10:00:00+00:00",
            "zone": "eu-north-1a",
            "driver": "2.17.0g",
            "run": "k3f9",
        },
    ]


def test_what_was_claimed_last() -> None:
    def claimed(date: str, phc: bool) -> Measurement:
        return seen(date=date, claim=Claim(phc_supported=phc, source="lab", date=date))

    found = [claimed("2026-11-02", False), claimed("2026-11-01", True), seen(date="2026-11-03")]
    assert claims.find_last_claims(["m7i.large", "a.b"], found) == {"m7i.large": False, "a.b": None}


measurements = st.lists(
    st.builds(
        lambda name, day, how: seen(name, date=f"2026-11-{day:02}T00:00:00+00:00", **how),
        st.sampled_from(["a.b", "c.d"]),
        st.integers(1, 30),
        st.sampled_from([{}, NO_PHC, NO_ROOM]),
    ),
    max_size=8,
)


@given(found=measurements, claimed=st.dictionaries(st.sampled_from(["a.b", "c.d", "e.f"]), st.none() | st.booleans()))
def test_no_verdict_and_no_type_gets_lost(found: list[Measurement], claimed: dict[str, bool | None]) -> None:
    rows = claims.build_export_rows(claimed, found, region="r", taken=None)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert sum(row["run"] != "" for row in rows) == len(found)
    assert {row["instance_type"] for row in rows} == {*claimed, *(one.instance_type for one in found)}
    for known in claims.join_measurements(claimed, found):
        clocks = {one.clock for one in found if one.instance_type == known.instance_type} - {None}
        assert (known.contradiction is None) or (not known.claim) in clocks
