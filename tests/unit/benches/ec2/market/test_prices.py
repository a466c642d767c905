"""Prices: entries of the Price List as AWS writes them, the market's of spot, and every way in which there is none.

moto has no Price List, so botocore's stub answers in its shape; what moto says instead is the case "not to be had".
"""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import prices
from harness.benches.ec2.market.catalogue import Catalogue
from harness.benches.ec2.market.prices import Prices
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture, Market

NOW = datetime.datetime.now(datetime.UTC)


def product(name: str = "m7i.large", usd: str = "0.1071000000", unit: str = "Hrs", **attributes: str) -> str:
    """One entry of GetProducts' PriceList, with all that belongs to an instance's (format aws_v1, as of 2026)."""
    sku = "6C86BEPQVG73ZGGR"
    about = {
        "enhancedNetworkingSupported": "Yes",
        "intelTurboAvailable": "Yes",
        "memory": "8 GiB",
        "dedicatedEbsThroughput": "Up to 10000 Mbps",
        "vcpu": "2",
        "classicnetworkingsupport": "false",
        "capacitystatus": "Used",
        "locationType": "AWS Region",
        "storage": "EBS only",
        "instanceFamily": "General purpose",
        "operatingSystem": "Linux",
        "regionCode": "eu-north-1",
        "physicalProcessor": "Intel Xeon Scalable (Sapphire Rapids)",
        "networkPerformance": "Up to 12500 Megabit",
        "servicename": "Amazon Elastic Compute Cloud",
        "instanceType": name,
        "tenancy": "Shared",
        "usagetype": f"EUN1-BoxUsage:{name}",
        "normalizationSizeFactor": "4",
        "servicecode": "AmazonEC2",
        "licenseModel": "No License required",
        "currentGeneration": "Yes",
        "preInstalledSw": "NA",
        "location": "EU (Stockholm)",
        "processorArchitecture": "64-bit",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "availabilityzone": "NA",
    }
    dimension = {
        "unit": unit,
        "endRange": "Inf",
        "description": f"${usd} per On Demand Linux {name} Instance Hour",
        "appliesTo": [],
        "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
        "beginRange": "0",
        "pricePerUnit": {"USD": usd},
    }
    term = {
        "priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension},
        "sku": sku,
        "effectiveDate": "2026-11-01T00:00:00Z",
        "offerTermCode": "JRTCKXETXF",
        "termAttributes": {},
    }
    upfront = {"unit": "Quantity", "description": "Upfront Fee", "appliesTo": [], "pricePerUnit": {"USD": "505"}}
    reserved = {**term, "priceDimensions": {f"{sku}.38NPMPTW36.2TG2D8R56U": upfront}, "offerTermCode": "38NPMPTW36"}
    whole = {
        "product": {"productFamily": "Compute Instance", "attributes": about | attributes, "sku": sku},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}, "Reserved": {f"{sku}.38NPMPTW36": reserved}},
        "version": "20261118203312",
        "publicationDate": "2026-11-18T20:33:12Z",
    }
    return json.dumps(whole)


def without_terms() -> str:
    whole = json.loads(product())
    whole["terms"] = {"Reserved": whole["terms"]["Reserved"]}
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([product()], {"m7i.large": 0.1071}),
        ([product("c8g.large", "0.08"), product("a1.large", "0.05")], {"a1.large": 0.05, "c8g.large": 0.08}),
        ([product(usd="0.1"), product(usd="0.3"), product(usd="0.2")], {"m7i.large": 0.3}),
        ([product(usd="0.0000000000")], {}),
        ([product(unit="Quantity")], {}),
        ([product(operatingSystem="Windows")], {}),
        ([product(tenancy="Dedicated")], {}),
        ([product(preInstalledSw="SQL Web")], {}),
        ([product(capacitystatus="UnusedCapacityReservation")], {}),
        ([product(marketoption="CapacityBlock")], {}),
        ([product(operation="RunInstances:0002")], {}),
        ([product(regionCode="eu-west-1")], {}),
        ([product().replace('"USD"', '"CNY"')], {}),
        ([without_terms()], {}),
        (["", "{", "[]", "{}", "null", '{"product": {}}', product(usd="cheap"), product("x.y", "1")], {"x.y": 1.0}),
    ],
)
def test_entries_of_the_price_list(entries: list[str], found: dict[str, float]) -> None:
    assert prices.parse(entries, "eu-north-1") == found


@pytest.mark.parametrize(
    ("region", "asked"),
    [
        ("us-east-1", "us-east-1"),
        ("sa-east-1", "us-east-1"),
        ("ca-west-1", "us-east-1"),
        ("eu-north-1", "eu-central-1"),
        ("me-south-1", "eu-central-1"),
        ("af-south-1", "eu-central-1"),
        ("il-central-1", "eu-central-1"),
        ("ap-southeast-7", "ap-south-1"),
        ("cn-north-1", "cn-northwest-1"),
    ],
)
def test_where_prices_are_asked_for(region: str, asked: str) -> None:
    assert prices.endpoint_region(region) == asked


@pytest.fixture
def stubbed(aws: str) -> Iterator[Callable[..., Api]]:
    """Takes a service, its Region, and what it answers page by page (or the code that it refuses with)."""
    stubs = []

    def make(service: str, region: str, operation: str, *answers: dict[str, Any] | str) -> Api:
        api = Api("eu-north-1", pause=lambda _: None)
        stub = Stubber(api.client(service, region))
        for answer in answers:
            if isinstance(answer, str):
                stub.add_client_error(operation, answer, "you may not")
            else:
                stub.add_response(operation, answer)
        stub.activate()
        stubs.append(stub)
        return api

    yield make
    for stub in stubs:
        stub.assert_no_pending_responses()


def on_demand(stubbed: Callable[..., Api], *answers: dict[str, Any] | str) -> Api:
    return stubbed("pricing", "eu-central-1", "get_products", *answers)


PAGES = (
    {"FormatVersion": "aws_v1", "PriceList": [product()], "NextToken": "more"},
    {"FormatVersion": "aws_v1", "PriceList": [product("c8g.large", "0.08")]},
)


def test_all_pages_are_read_and_kept(stubbed: Callable[..., Api], tmp_path: Path) -> None:
    first = prices.load(on_demand(stubbed, *PAGES), tmp_path)
    assert (first.market, first.per_hour_usd, first.why_unknown) == (
        "on-demand",
        {"c8g.large": 0.08, "m7i.large": 0.1071},
        "",
    )
    nobody_asked = on_demand(stubbed)
    assert (
        prices.load(nobody_asked, tmp_path) == prices.load(nobody_asked, tmp_path, offline=True, max_age_s=0) == first
    )
    assert not nobody_asked.calls


def test_who_may_not_ask_gets_unknown_with_the_reason(stubbed: Callable[..., Api], tmp_path: Path) -> None:
    assert prices.load(on_demand(stubbed, "AccessDeniedException"), tmp_path) == Prices(
        market=Market.ON_DEMAND,
        as_of=None,
        per_hour_usd={},
        why_unknown="AWS did not give them: asking for prices: AccessDeniedException: you may not",
    )


def test_who_may_not_ask_any_more_gets_the_older_ones(stubbed: Callable[..., Api], tmp_path: Path) -> None:
    first = prices.load(on_demand(stubbed, *PAGES), tmp_path)
    later = prices.load(on_demand(stubbed, "AccessDeniedException"), tmp_path, max_age_s=0)
    assert (later.as_of, later.per_hour_usd) == (first.as_of, first.per_hour_usd)
    assert "AccessDeniedException" in later.why_unknown


def test_offline_without_any(aws: str, tmp_path: Path) -> None:
    found = prices.load(Api("eu-north-1"), tmp_path, offline=True)
    assert (found.per_hour_usd, found.why_unknown) == ({}, "offline, and none were kept")


def test_a_region_without_prices(stubbed: Callable[..., Api], tmp_path: Path) -> None:
    found = prices.load(on_demand(stubbed, {"PriceList": []}), tmp_path)
    assert (found.per_hour_usd, found.why_unknown) == ({}, "there are none for eu-north-1")


def test_an_aws_without_a_price_list(aws: str, tmp_path: Path) -> None:
    """moto itself, which has none: unknown, and no failure."""
    found = prices.load(Api("eu-north-1"), tmp_path)
    assert (found.as_of, found.per_hour_usd) == (None, {})
    assert found.why_unknown.startswith("AWS did not give them: asking for prices")
    assert "\n" not in found.why_unknown


def spot(name: str, zone: str, usd: str, minutes_ago: int) -> dict[str, Any]:
    return {
        "InstanceType": name,
        "AvailabilityZone": f"eu-north-1{zone}",
        "SpotPrice": usd,
        "Timestamp": NOW - datetime.timedelta(minutes=minutes_ago),
        "ProductDescription": "Linux/UNIX",
    }


def test_spot_is_the_newest_of_each_zone_and_of_those_the_highest(stubbed: Callable[..., Api], tmp_path: Path) -> None:
    history = [
        spot("m7i.large", "a", "0.030", 5),
        spot("m7i.large", "a", "0.090", 50),
        spot("m7i.large", "b", "0.035", 1),
    ]
    pages = {"SpotPriceHistory": history, "NextToken": "1"}, {"SpotPriceHistory": [spot("c8g.large", "c", "0.02", 1)]}
    api = stubbed("ec2", "eu-north-1", "describe_spot_price_history", *pages)
    assert prices.load(api, tmp_path, market=Market.SPOT).per_hour_usd == {"c8g.large": 0.02, "m7i.large": 0.035}


def test_spot_prices_of_moto(aws: str, tmp_path: Path) -> None:
    found = prices.load(Api("me-south-1"), tmp_path, market=Market.SPOT)
    assert (found.market, found.per_hour_usd["m5.large"], found.why_unknown) == ("spot", 0.00001, "")


def test_prices_go_into_the_catalogue() -> None:
    info = TypeInfo(
        name="a.b",
        family="a",
        size="b",
        architecture=Architecture.ARM64,
        vcpus=1,
        memory_mib=1,
        phc=None,
        ena="required",
        zones=(),
        price_per_hour_usd=9.0,
        bare_metal=False,
        current_generation=True,
    )
    both = Catalogue(region="r", as_of=NOW, types={"a.b": info, "c.d": info})
    found = prices.with_prices(both, Prices(market=Market.SPOT, as_of=NOW, per_hour_usd={"a.b": 0.5}))
    assert [one.price_per_hour_usd for one in found.types.values()] == [0.5, None]
