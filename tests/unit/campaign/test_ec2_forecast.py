"""What a plan asks of EC2: zones, placement, quotas and cost; what is unknown is said and never counted as nothing."""

import datetime
import json
from typing import Any

import pytest

from harness.campaign import ec2_forecast, run_plan
from harness.campaign.campaign import from_mapping
from harness.campaign.ec2_forecast import Ec2Forecast, HostForecast
from harness.model.cloud import Quota, TypeInfo
from harness.model.ec2_enums import Architecture, Market
from harness.report import forecast_text as rendered

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
STANDARD = Quota(code="L-1", name="Standard", families=frozenset({"m7i", "c8g"}), limit_vcpus=16, used_vcpus=6)


def a_type(name: str, **changes: Any) -> TypeInfo:
    family, _, size = name.partition(".")
    values: dict[str, Any] = {
        "name": name,
        "family": family,
        "size": size,
        "architecture": Architecture.ARM64 if family.endswith("g") else Architecture.X86_64,
        "vcpus": 2,
        "memory_mib": 8192,
        "phc": True,
        "ena": "required",
        "zones": ("eu-west-1a", "eu-west-1b", "eu-west-1c"),
        "price_per_hour_usd": 0.12,
        "bare_metal": False,
        "current_generation": True,
    }
    return TypeInfo(**(values | changes))


TYPES = {
    one.name: one for one in (a_type("m7i.large"), a_type("c8g.large", price_per_hour_usd=0.24), a_type("x2.large"))
}


def look(
    *names: str, types: dict[str, TypeInfo] = TYPES, quotas: tuple[Quota, ...] = (STANDARD,), **more: Any
) -> Ec2Forecast:
    asked = {key: more.pop(key) for key in ("placement", "lease", "parallel", "measure") if key in more}
    campaign = from_mapping({"bench": "ec2", "instance_types": list(names), "lease": "1h", **asked})
    made = run_plan.make_plan(campaign, types, now=NOW)
    return ec2_forecast.forecast(made, types, quotas, **{"region": "eu-west-1", **more})


def test_a_whole_outlook() -> None:
    """300 s of measuring and 180 s beside it: 480 s of each host's hour."""
    found = look("m7i.large", "c8g.large", zones=("eu-west-1b", "eu-west-1a"), actions=("b:C", "a:B"))
    common: dict[str, Any] = {"vcpus": 2, "phc": True, "zones": ("eu-west-1b", "eu-west-1a"), "quota": "L-1"}
    assert found == Ec2Forecast(
        region="eu-west-1",
        market=Market.ON_DEMAND,
        hosts=(
            HostForecast(
                name="m7i.large",
                instance_type="m7i.large",
                architecture=Architecture.X86_64,
                precision_group=False,
                placement_why="no precision-time placement group needed: m7i in every Region shows its PHC without one",
                price_per_hour_usd=0.12,
                **common,
            ),
            HostForecast(
                name="c8g.large",
                instance_type="c8g.large",
                architecture=Architecture.ARM64,
                precision_group=True,
                placement_why="in a precision-time placement group: eu-west-1 shows the PHC of c8g only there",
                price_per_hour_usd=0.24,
                **common,
            ),
        ),
        quotas=(STANDARD,),
        about_usd=pytest.approx(0.048),
        at_most_usd=pytest.approx(0.36),
        priced_about_usd=pytest.approx(0.048),
        priced_at_most_usd=pytest.approx(0.36),
        unpriced=(),
        actions=("a:B", "b:C"),
        warnings=(),
    )


@pytest.mark.parametrize(
    ("region", "name", "placement", "group", "why"),
    [
        ("eu-west-1", "c8g.large", "auto", True, "eu-west-1 shows the PHC of c8g only there"),
        ("eu-west-1", "m7i.large", "auto", False, "m7i in every Region shows its PHC without one"),
        ("eu-north-1", "c8g.large", "auto", False, "eu-north-1 shows its PHC without one"),
        ("eu-west-1", "c8g.large", "none", False, "in no placement group, as the campaign asks"),
        ("eu-north-1", "m7i.large", "precision-time", True, "placement group, as the campaign asks"),
        ("eu-west-1", "c8g.large", "group:mine", None, "the campaign asks for placement group:mine"),
    ],
)
def test_placement(region: str, name: str, placement: str, group: bool | None, why: str) -> None:
    found, words = ec2_forecast.explain_placement(region, TYPES[name], placement)
    assert (found, words.endswith(why)) == (group, True), words


def test_a_type_without_a_clock_is_placed_in_no_precision_time_group() -> None:
    info = a_type("c8g.large", phc=False)
    group, why = ec2_forecast.explain_placement("eu-west-1", info, "auto")
    assert (group, why) == (
        False,
        "in no precision-time placement group: the API says that there is no PHC on c8g.large",
    )
    assert look("c8g.large", types={"c8g.large": info}).warnings == (
        "the API says that there is no PHC on c8g.large: the measurement will be compared with this claim",
    )


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"phc": False},
            "the API says that there is no PHC on m7i.large: the measurement will be compared with this claim",
        ),
        ({"phc": None}, "the API does not say whether there is a PHC on m7i.large"),
        ({"ena": "unsupported"}, "there is no ENA card on m7i.large: only this card provides a PHC"),
        ({"bare_metal": True}, "bare metal takes ten minutes and more to come up: m7i.large"),
        ({"zones": ()}, "no zone that may be used offers m7i.large"),
        ({"price_per_hour_usd": None}, "no price is known of m7i.large"),
        ({"vcpus": 17}, "quota Standard (L-1) allows 16 vCPUs, too few for m7i.large"),
        (
            {"vcpus": 11},
            "quota Standard (L-1) leaves 10 of 16 vCPUs, and up to 11 are needed at once: "
            "request more in Service Quotas, or run fewer at once (parallel)",
        ),
    ],
)
def test_warnings_of_a_type(changes: dict[str, Any], warning: str) -> None:
    assert look("m7i.large", types={"m7i.large": a_type("m7i.large", **changes)}).warnings == (warning,)


@pytest.mark.parametrize(
    ("hosts", "parallel", "warned"),
    [(5, 8, False), (6, 8, True), (6, 5, False), (8, 5, False), (8, 6, True)],
)
def test_a_quota_counts_what_runs_at_once(hosts: int, parallel: int, warned: bool) -> None:
    found = look(*["m7i.large"] * hosts, parallel=parallel)
    assert bool(found.warnings) is warned


def test_a_quota_that_is_unknown_says_why() -> None:
    unknown = Quota(
        code="L-1", name="S", families=frozenset({"m7i"}), limit_vcpus=None, used_vcpus=4, why_unknown="you may not ask"
    )
    assert look("m7i.large", quotas=(unknown,)).warnings == ("quota S (L-1) is unknown (you may not ask)",)


def test_zones_of_the_campaign_alone() -> None:
    found = look("m7i.large", zones=("eu-west-1z",))
    assert (found.hosts[0].zones, found.warnings) == ((), ("no zone that may be used offers m7i.large",))


def test_a_placement_that_hides_the_clock_is_warned_of() -> None:
    assert look("m7i.large", "c8g.large", placement="none").warnings == (
        "outside a precision-time placement group eu-west-1 shows no PHC on c8g.large: placement auto makes one",
    )
    assert look("m7i.large", "c8g.large", placement="none", region="eu-north-1").warnings == ()


def test_a_cluster_that_hides_the_clock_is_foretold_to_be_refused() -> None:
    assert look("m7i.large", "c8g.large", placement="cluster").warnings == (
        "a run is refused: eu-west-1 shows the PHC of c8g.large in a cluster only below a precision-time parent, "
        "which `placement: group:NAME` names",
    )
    assert look("m7i.large", "c8g.large", placement="cluster", region="eu-north-1").warnings == ()


def test_a_lease_shorter_than_the_estimate_bounds_the_cost() -> None:
    found = look("m7i.large", lease="6m")
    assert (found.about_usd, found.at_most_usd) == (pytest.approx(0.012), pytest.approx(0.012))


def some_unpriced() -> dict[str, TypeInfo]:
    return {**TYPES, "x2.large": a_type("x2.large", price_per_hour_usd=None)}


@pytest.mark.parametrize(
    ("names", "types", "words"),
    [
        (
            ["m7i.large"],
            TYPES,
            "about $0.02, at most $0.12 when every host stays for its whole lease "
            "(instances; volumes and addresses add cents)",
        ),
        (
            ["m7i.large", "x2.large"],
            some_unpriced(),
            "unknown for x2.large; the others about $0.02, at most $0.12 when every host stays for its whole lease",
        ),
        (["x2.large"], some_unpriced(), "unknown"),
    ],
)
def test_cost_in_words(names: list[str], types: dict[str, TypeInfo], words: str) -> None:
    found = look(*names, types=types)
    assert rendered.describe_cost(found) == words
    assert (found.about_usd is None) is bool(found.unpriced)


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0.0, "$0.00"), (0.004, "$0.0040"), (0.000001, "$0.0001"), (0.01, "$0.01"), (1234.5, "$1,234.50")],
)
def test_dollars(amount: float, words: str) -> None:
    assert rendered.usd(amount) == words


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "none"), (("eu-west-1a",), "eu-west-1a"), (("eu-west-1a", "eu-west-1c"), "eu-west-1a c")],
)
def test_zones_in_short(names: tuple[str, ...], words: str) -> None:
    assert rendered.format_zones(names) == words


def test_for_people() -> None:
    found = look("m7i.large", "c8g.large", "m7i.large", actions=("ec2:RunInstances",), parallel=1)
    assert rendered.lines(found) == [
        "eu-west-1, on-demand:",
        "  HOST         ARCH    VCPU  PHC  $/HOUR  ZONES",
        "  m7i.large    x86_64  2     yes  0.1200  eu-west-1a b c",
        "  c8g.large    arm64   2     yes  0.2400  eu-west-1a b c",
        "  m7i.large-2  x86_64  2     yes  0.1200  eu-west-1a b c",
        "placement:",
        "  m7i.large, m7i.large-2: no precision-time placement group needed: "
        "m7i in every Region shows its PHC without one",
        "  c8g.large: in a precision-time placement group: eu-west-1 shows the PHC of c8g only there",
        "quota:",
        "  Standard (L-1): 10 vCPUs left of 16, in use 6",
        "cost: about $0.06, at most $0.48 when every host stays for its whole lease "
        "(instances; volumes and addresses add cents)",
        "IAM actions: 1, those of docs/iam-policy.json",
    ]


def test_as_data() -> None:
    found = look("x2.large", types=some_unpriced(), why_unpriced="offline")
    data = json.loads(json.dumps(rendered.document(found)))
    assert data["cost"] == {"about_usd": None, "at_most_usd": None, "unpriced": ["x2.large"]}
    assert data["warnings"] == ["no price is known of x2.large (offline)"]
    assert data["quotas"] == [
        {
            "code": "L-1",
            "name": "Standard",
            "families": ["c8g", "m7i"],
            "limit_vcpus": 16,
            "used_vcpus": 6,
            "why_unknown": "",
            "left_vcpus": 10,
        }
    ]
    assert data["hosts"][0]["zones"] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
