"""Hosts are grouped by whether they may run beside others, and the groups run in one order."""

import pytest

from harness.campaign import campaign
from harness.campaign.campaign import Campaign
from harness.cluster.suites import Suite, SuiteKind, choose_next, does_harm, make_suites


def make_campaign(bench: str, types: list[str], **more: object) -> Campaign:
    region = {"region": "eu-north-1"} if bench == "ec2" else {}
    return campaign.from_mapping({"bench": bench, "instance_types": types, **region, **more})


def test_what_shares_a_quota_runs_together_then_the_exclusive_ones_in_turn() -> None:
    types = ["m7i.metal-24xl", "c7g.large", "p5.48xlarge", "m7i.large", "c7i.metal-48xl", "u7i-12tb.224xlarge"]
    suites = make_suites(make_campaign("ec2", types), types)
    assert [(suite.kind, suite.types, suite.kind.exclusive) for suite in suites] == [
        ("shared", ("c7g.large", "m7i.large"), False),
        ("metal", ("c7i.metal-48xl", "m7i.metal-24xl"), True),
        ("scarce", ("p5.48xlarge", "u7i-12tb.224xlarge"), True),
    ]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, SuiteKind.SHARED) for family in ("a1", "c7i-flex", "i4g", "im4gn", "is4gen", "r8g", "t3", "z1d")),
        *((family, SuiteKind.SCARCE) for family in ("dl1", "f2", "g6", "hpc7g", "inf2", "mac2", "p4d", "trn1", "vt1")),
    ],
)
def test_families_with_a_quota_of_their_own_are_scarce(family: str, kind: SuiteKind) -> None:
    (suite,) = make_suites(make_campaign("ec2", [f"{family}.large"]), [f"{family}.large"])
    assert suite.kind is kind


def test_hosts_of_one_machine_that_are_disturbed_run_alone() -> None:
    disturbed = make_campaign("lab", ["lab.phc"], depth="full", disturbances=["cpu-load"])
    assert [suite.kind for suite in make_suites(disturbed, ["lab.phc"])] == [SuiteKind.DISTURBED]
    assert does_harm(disturbed)
    assert not does_harm(make_campaign("lab", ["lab.phc"]))
    assert [suite.kind for suite in make_suites(make_campaign("lab", ["lab.phc"]), ["lab.phc"])] == [SuiteKind.SHARED]


def test_only_types_that_are_left_make_suites() -> None:
    wanted = make_campaign("ec2", ["m7i.large", "m7i.metal-24xl"])
    assert [suite.kind for suite in make_suites(wanted, ["m7i.metal-24xl"])] == [SuiteKind.METAL]
    assert make_suites(wanted, []) == []


def test_shared_suites_run_together_then_each_exclusive_one_alone() -> None:
    """A run of five suites, as a coordinator carries it out: two at once, in rounds."""
    kinds = [SuiteKind.QUIET, SuiteKind.SHARED, SuiteKind.SHARED, SuiteKind.GUESTS, SuiteKind.SHARED]
    waiting = [Suite(kind, (str(number),)) for number, kind in enumerate(kinds)]
    running: list[Suite] = []
    rounds: list[list[str]] = []
    while waiting or running:
        begun = choose_next(waiting, running, 2)
        assert begun or running, "something always goes on"
        rounds += [[suite.types[0] for suite in begun]] if begun else []
        waiting = [suite for suite in waiting if suite not in begun]
        running = [*running, *begun][1:]  # the one that was begun first ends
    assert rounds == [["1", "2"], ["4"], ["3"], ["0"]]


def test_nothing_begins_beside_an_exclusive_suite() -> None:
    quiet, shared = Suite(SuiteKind.QUIET, ()), Suite(SuiteKind.SHARED, ())
    assert choose_next([shared], [quiet], 9) == []
    assert choose_next([quiet], [shared], 9) == []
    assert choose_next([shared], [shared], 1) == []
