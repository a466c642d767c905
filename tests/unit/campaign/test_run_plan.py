"""Hosts in the order given, their names, and what is said beforehand."""

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.benches.bench import InstanceType
from harness.campaign import run_plan
from harness.campaign.campaign import Campaign, from_mapping
from harness.campaign.run_plan import PlannedHost
from harness.errors import RequestError

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
NAMES = ("lab.phc", "lab.no-phc", "lab.drifting", "lab.phc-2")
TYPES = {name: InstanceType(name=name, summary="") for name in NAMES}


def asked(*types: str, **more: object) -> Campaign:
    return from_mapping({"instance_types": list(types), **more})


def test_a_whole_plan() -> None:
    campaign = asked("lab.phc", "lab.no-phc", "lab.drifting")
    assert run_plan.make_plan(campaign, TYPES, now=NOW, parallel=2) == run_plan.Plan(
        campaign=campaign,
        hosts=(
            PlannedHost(name="lab.phc", instance_type="lab.phc"),
            PlannedHost(name="lab.no-phc", instance_type="lab.no-phc"),
            PlannedHost(name="lab.drifting", instance_type="lab.drifting"),
        ),
        parallel=2,
        expires=NOW + datetime.timedelta(hours=2),
        estimated_s=300.0,
        warnings=(),
    )


@pytest.mark.parametrize(
    ("types", "names"),
    [
        (["lab.phc", "lab.phc", "lab.phc"], ["lab.phc", "lab.phc-2", "lab.phc-3"]),
        (["lab.phc", "lab.no-phc", "lab.phc"], ["lab.phc", "lab.no-phc", "lab.phc-2"]),
        (["lab.phc", "lab.phc", "lab.phc-2"], ["lab.phc", "lab.phc-3", "lab.phc-2"]),
    ],
)
def test_names(types: list[str], names: list[str]) -> None:
    assert [host.name for host in run_plan.make_plan(asked(*types), TYPES, now=NOW).hosts] == names


@given(types=st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_order_is_kept_and_no_two_hosts_share_a_name(types: list[str]) -> None:
    hosts = run_plan.make_plan(asked(*types), TYPES, now=NOW).hosts
    assert [host.instance_type for host in hosts] == types
    assert len({host.name for host in hosts}) == len(types)
    assert all(host.name.startswith(host.instance_type) for host in hosts)


def test_every_unknown_type_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError) as refused:
        run_plan.make_plan(asked("lab.pch", "lab.phc", "m7i.large", "lab.pch"), TYPES, now=NOW)
    assert (refused.value.message, refused.value.next_step) == (
        "there is no type 'lab.pch' on bench lab; did you mean lab.phc or lab.phc-2 or lab.no-phc?\n"
        "there is no type 'm7i.large' on bench lab; "
        "it is an EC2 type: add --region NAME, or write `bench: ec2` in the campaign file",
        "there are 4 types on bench lab: lab.phc, lab.no-phc, lab.drifting, lab.phc-2",
    )


@pytest.mark.parametrize(
    ("given_parallel", "bench_says", "hosts", "wanted"),
    [(None, None, 3, 2), (None, 3, 3, 3), (1, 3, 3, 1), (9, 3, 2, 2)],
)
def test_how_many_at_once(given_parallel: int | None, bench_says: int | None, hosts: int, wanted: int) -> None:
    more = {} if given_parallel is None else {"parallel": given_parallel}
    planned = run_plan.make_plan(asked(*["lab.phc"] * hosts, **more), TYPES, now=NOW, parallel=bench_says)
    assert planned.parallel == wanted


CLOUD = {f"m7i.{size}large": InstanceType(name=f"m7i.{size}large", summary="") for size in ("", "x", "2x", "4x", "8x")}


@pytest.mark.parametrize(
    ("types", "more", "said"),
    [
        (3, {}, None),
        (4, {}, 4),
        (5, {}, 5),
        (5, {"parallel": 3}, None),
        (5, {"parallel": 4}, 4),
        (1, {"copies": 5}, None),
        (5, {"bench": "lab"}, None),
        (5, {"bench": "hosts", "inventory": "hosts.yaml"}, None),
    ],
)
def test_more_than_three_cloud_types_at_once_are_warned_of(types: int, more: dict[str, Any], said: int | None) -> None:
    names = list(CLOUD)[:types] * more.pop("copies", 1)
    made = run_plan.make_plan(asked(*names, **{"bench": "ec2", "parallel": 8, **more}), CLOUD, now=NOW)
    warned = [words for words in made.warnings if "cloud types" in words]
    words = f"{said} cloud types run at once, and each costs until it is released; parallel: 3 has fewer at a time"
    assert warned == ([] if said is None else [words])


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ({"measure": {"duration": "20s"}}, ()),
        ({"measure": {"duration": "19s"}}, ("19 samples are fewer than the 20 that limits need: no host can pass",)),
        ({"measure": {"duration": "19s"}, "depth": "quick"}, ()),
        ({"lease": "150s"}, ()),
        ({"lease": "149s"}, ("the run may take 150 s, longer than its lease of 149 s",)),
        ({"keep": "supported"}, ("hosts that pass are kept and cost until they are released or their lease ends",)),
    ],
)
def test_warnings(more: dict[str, object], warnings: tuple[str, ...]) -> None:
    assert run_plan.make_plan(asked("lab.phc", **more), TYPES, now=NOW).warnings == warnings


@pytest.mark.parametrize(
    ("bench", "name", "hint"),
    [
        ("lab", "m7i.metal-24xl", "it is an EC2 type: add --region NAME, or write `bench: ec2` in the campaign file"),
        ("lab", "u-6tb1.112xlarge", "it is an EC2 type: add --region NAME, or write `bench: ec2` in the campaign file"),
        ("lab", "lab.zzzzzzzz", "no type of this bench has a similar name"),
        ("lab", "lab.large", "no type of this bench has a similar name"),
        ("ec2", "lab.phc", "it is a type of the lab: add --bench lab, or write `bench: lab` in the campaign file"),
        ("ec2", "m99.large", "no type of this bench has a similar name"),
    ],
)
def test_a_type_of_another_bench_says_which(bench: str, name: str, hint: str) -> None:
    with pytest.raises(RequestError) as refused:
        run_plan.make_plan(dataclasses.replace(asked(name), bench=bench), {"other": object()}, now=NOW)
    assert refused.value.message == f"there is no type {name!r} on bench {bench}; {hint}"


def test_of_many_unknown_types_the_first_are_named() -> None:
    """Each is compared with every known one: of thousands that takes minutes."""
    known = {f"m{number}.large": object() for number in range(900)}
    with pytest.raises(RequestError) as refused:
        run_plan.make_plan(asked(*(f"unknown.{number}" for number in range(2000))), known, now=NOW)
    assert refused.value.message.startswith("there is no type 'unknown.0' on bench lab")
    assert refused.value.message.endswith("\nand 1980 more")


@pytest.mark.parametrize(
    ("types", "parallel", "typical_s", "seconds"),
    [
        (("a",), 1, {}, 1.0),
        (("a", "b", "c"), 1, {}, 3.0),
        (("a", "b", "c"), 2, {}, 2.0),
        (("a", "b", "c"), 9, {}, 1.0),
        (("a", "b"), 2, {"a": 100.0}, 100.0),
        (("a", "b", "c"), 2, {"a": 100.0, "b": 60.0, "c": 50.0}, 110.0),
        (("a", "a", "a"), 2, {"a": 40.0}, 80.0),
        ((), 2, {}, 1.0),
    ],
)
def test_how_long_a_campaign_takes_with_so_many_hosts_at_once(
    monkeypatch: pytest.MonkeyPatch, types: tuple[str, ...], parallel: int, typical_s: dict[str, float], seconds: float
) -> None:
    monkeypatch.setattr(run_plan, "estimate_host_s", lambda _campaign: 1.0)
    campaign = dataclasses.replace(asked("lab.phc"), instance_types=types, parallel=parallel)
    assert run_plan.estimate_run_s(campaign, typical_s) == seconds
