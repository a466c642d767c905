"""Read the hourly price per type: from the Price List for on-demand, from the spot market for spot, else unknown."""

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market.catalogue import Catalogue
from harness.model.ec2_enums import Market

ON_DEMAND_MAX_AGE_S = 7 * 86_400.0
SPOT_MAX_AGE_S = 3_600.0

ENDPOINTS: Mapping[str, str] = {
    **dict.fromkeys(("eu", "me", "af", "il"), "eu-central-1"),
    "ap": "ap-south-1",
    "cn": "cn-northwest-1",
}
"""The Region to ask for prices, by prefix; us-east-1 for other prefixes. Four Regions answer for all Regions (AWS Price
List endpoints)."""

_ONLY = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "operation": "RunInstances",
    "marketoption": "OnDemand",
}
"""Selects the plain instance among a type's products (Windows, dedicated, capacity reserved or bought in blocks)."""

_PER_PAGE = 100
_PER_SPOT_PAGE = 1000
_SPOT_PRODUCT = "Linux/UNIX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD per hour by type. When the prices are unknown, `as_of` is None and `why_unknown` has the reason."""

    market: Market
    as_of: datetime.datetime | None
    per_hour_usd: Mapping[str, float]
    why_unknown: str = ""


def load(
    api: Api,
    cache_dir: Path,
    *,
    market: Market = Market.ON_DEMAND,
    offline: bool = False,
    max_age_s: float | None = None,
) -> Prices:
    """Load prices of the API's Region: from the cache if recent enough, else from AWS, which renews the cache.

    Missing prices raise nothing: without permission to ask, the result has the older prices, or none with the reason.
    """
    ask, usual_s = _find_source(market)
    path = answer_cache.cache_file(cache_dir, f"prices-{market}", api.region, api.endpoint("ec2"))
    cached_prices = answer_cache.read(path)
    if cached_prices is not None and (offline or cached_prices.age_s() < (usual_s if max_age_s is None else max_age_s)):
        return Prices(market=market, as_of=cached_prices.as_of, per_hour_usd=cached_prices.content)
    if offline:
        return Prices(market=market, as_of=None, per_hour_usd={}, why_unknown="offline, and none were kept")
    try:
        per_hour_usd = ask(api)
    except BenchError as error:
        reason = f"AWS did not give them: {_first_line(error.message)}"
        as_of, cached_usd = (None, {}) if cached_prices is None else (cached_prices.as_of, cached_prices.content)
        return Prices(market=market, as_of=as_of, per_hour_usd=cached_usd, why_unknown=reason)
    if not per_hour_usd:
        return Prices(market=market, as_of=None, per_hour_usd={}, why_unknown=f"there are none for {api.region}")
    return Prices(market=market, as_of=answer_cache.write(path, per_hour_usd).as_of, per_hour_usd=per_hour_usd)


def cached(api: Api, cache_dir: Path, *, market: Market) -> Mapping[str, float]:
    """Return cached prices that are not too old. AWS is not asked."""
    answer = answer_cache.read(answer_cache.cache_file(cache_dir, f"prices-{market}", api.region, api.endpoint("ec2")))
    return answer.content if answer is not None and answer.age_s() < _find_source(market)[1] else {}


def _find_source(market: Market) -> tuple[Callable[[Api], dict[str, float]], float]:
    """Return the function that asks for a market's prices, and the seconds that prices stay valid."""
    return (_fetch_spot, SPOT_MAX_AGE_S) if market is Market.SPOT else (_fetch_on_demand, ON_DEMAND_MAX_AGE_S)


def with_prices(catalogue: Catalogue, prices: Prices) -> Catalogue:
    """Return the same types with their prices; None for a type without a price."""
    per_hour_usd = prices.per_hour_usd
    types = {name: replace(info, price_per_hour_usd=per_hour_usd.get(name)) for name, info in catalogue.types.items()}
    return replace(catalogue, types=types)


def endpoint_region(region: str) -> str:
    """Return the nearest Region that answers about prices."""
    return ENDPOINTS.get(region.partition("-")[0], "us-east-1")


# --- on demand ------------------------------------------------------------------------------------------------------


def _fetch_on_demand(api: Api) -> dict[str, float]:
    attributes = {"regionCode": api.region, **_ONLY}
    products = api.pages(
        "pricing",
        "get_products",
        "PriceList",
        task="asking for prices",
        region=endpoint_region(api.region),
        ServiceCode="AmazonEC2",
        FormatVersion="aws_v1",
        MaxResults=_PER_PAGE,
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in attributes.items()],
    )
    return parse(products, api.region)


def parse(products: Iterable[str], region: str) -> dict[str, float]:
    """Return USD per hour by type, from entries of GetProducts' PriceList, each a JSON document (format aws_v1).

    Entries that are not an hourly Linux price in USD of that Region are ignored, also unreadable ones and prices of 0
    (capacity that is paid for in another way). Of two prices of a type, the higher counts.
    """
    usd_by_type: dict[str, float] = {}
    for text in products:
        try:
            product = json.loads(text)
            attributes = product["product"]["attributes"]
            if any(attributes[field] != value for field, value in {"regionCode": region, **_ONLY}.items()):
                continue
            for usd in _parse_hourly_usd(product["terms"].get("OnDemand", {})):
                usd_by_type[attributes["instanceType"]] = max(usd, usd_by_type.get(attributes["instanceType"], 0.0))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return dict(sorted(usd_by_type.items()))


def _parse_hourly_usd(terms: Mapping[str, Any]) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and usd > 0:
                yield usd


# --- spot -----------------------------------------------------------------------------------------------------------


def _fetch_spot(api: Api) -> dict[str, float]:
    """Return the present price of each type, of all zones the highest: a plan must not promise the luckiest zone."""
    history = api.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        task="asking for spot prices",
        ProductDescriptions=[_SPOT_PRODUCT],
        StartTime=answer_cache.utc_now(),
        MaxResults=_PER_SPOT_PAGE,
    )
    newest: dict[tuple[str, str], tuple[datetime.datetime, float]] = {}
    for entry in history:
        place = entry["InstanceType"], entry["AvailabilityZone"]
        newest[place] = max(
            newest.get(place, (entry["Timestamp"], 0.0)), (entry["Timestamp"], float(entry["SpotPrice"]))
        )
    usd_by_type: dict[str, float] = {}
    for (name, _), (_, usd) in newest.items():
        usd_by_type[name] = max(usd, usd_by_type.get(name, 0.0))
    return dict(sorted(usd_by_type.items()))


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200]
