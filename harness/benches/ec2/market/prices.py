"""What does an hour of each type cost? The Price List's word for on-demand, the market's for spot; else: unknown."""

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

ON_DEMAND_MAX_AGE_S = 7 * 86_400.0
SPOT_MAX_AGE_S = 3_600.0

ENDPOINTS: Mapping[str, str] = {
    **dict.fromkeys(("eu", "me", "af", "il"), "eu-central-1"),
    "ap": "ap-south-1",
    "cn": "cn-northwest-1",
}
"""The Price List answers in four Regions only, for all (AWS Price List endpoints); elsewhere in us-east-1."""

_ONLY = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "operation": "RunInstances",
    "marketoption": "OnDemand",
}
"""Of the many products of one type (Windows, dedicated, capacity reserved or bought in blocks) the plain instance."""

_PER_PAGE = 100
_PER_SPOT_PAGE = 1000
_SPOT_PRODUCT = "Linux/UNIX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD per hour by type. `taken` is None, and `why_unknown` says why, where nobody could be asked."""

    market: str  # "on-demand" or "spot"
    taken: datetime.datetime | None
    per_hour_usd: Mapping[str, float]
    why_unknown: str = ""


def load(
    api: Api, cache_dir: Path, *, market: str = "on-demand", offline: bool = False, max_age_s: float | None = None
) -> Prices:
    """Prices of the API's Region: as kept, while not too old, else asked and kept.

    Never raises for want of prices: who may not ask for them still gets the older ones, or none with the reason.
    """
    ask, usual_s = _usual(market)
    path = answer_cache.cache_file(cache_dir, f"prices-{market}", api.region, api.endpoint("ec2"))
    kept = answer_cache.read(path)
    if kept is not None and (offline or kept.age_s() < (usual_s if max_age_s is None else max_age_s)):
        return Prices(market=market, taken=kept.taken, per_hour_usd=kept.content)
    if offline:
        return Prices(market=market, taken=None, per_hour_usd={}, why_unknown="offline, and none were kept")
    try:
        found = ask(api)
    except BenchError as error:
        why = f"AWS was asked and did not tell: {_first_line(error.message)}"
        taken, older = (None, {}) if kept is None else (kept.taken, kept.content)
        return Prices(market=market, taken=taken, per_hour_usd=older, why_unknown=why)
    if not found:
        return Prices(market=market, taken=None, per_hour_usd={}, why_unknown=f"there are none for {api.region}")
    return Prices(market=market, taken=answer_cache.write(path, found).taken, per_hour_usd=found)


def cached(api: Api, cache_dir: Path, *, market: str) -> Mapping[str, float]:
    """Those that were kept and are not too old to go by. Nobody is asked."""
    found = answer_cache.read(answer_cache.cache_file(cache_dir, f"prices-{market}", api.region, api.endpoint("ec2")))
    return found.content if found is not None and found.age_s() < _usual(market)[1] else {}


def _usual(market: str) -> tuple[Callable[[Api], dict[str, float]], float]:
    """How prices of a market are asked for, and how long they hold."""
    return (_spot, SPOT_MAX_AGE_S) if market == "spot" else (_on_demand, ON_DEMAND_MAX_AGE_S)


def with_prices(catalogue: Catalogue, prices: Prices) -> Catalogue:
    """The same types with their prices, None where there is none."""
    known = prices.per_hour_usd
    types = {name: replace(one, price_per_hour_usd=known.get(name)) for name, one in catalogue.types.items()}
    return replace(catalogue, types=types)


def endpoint_region(region: str) -> str:
    """The nearest of the Regions that answer about prices."""
    return ENDPOINTS.get(region.partition("-")[0], "us-east-1")


# --- on demand ------------------------------------------------------------------------------------------------------


def _on_demand(api: Api) -> dict[str, float]:
    wanted = {"regionCode": api.region, **_ONLY}
    products = api.pages(
        "pricing",
        "get_products",
        "PriceList",
        what="asking for prices",
        region=endpoint_region(api.region),
        ServiceCode="AmazonEC2",
        FormatVersion="aws_v1",
        MaxResults=_PER_PAGE,
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
    )
    return parse(products, api.region)


def parse(products: Iterable[str], region: str) -> dict[str, float]:
    """USD per hour by type in entries of GetProducts' PriceList, each a JSON document of its own (format aws_v1).

    What is not an hourly Linux price in USD of that Region is passed over, also 0 (capacity that is paid otherwise)
    and what cannot be read; of two prices of one type the higher counts.
    """
    found: dict[str, float] = {}
    for text in products:
        try:
            product = json.loads(text)
            attributes = product["product"]["attributes"]
            if any(attributes[field] != value for field, value in {"regionCode": region, **_ONLY}.items()):
                continue
            for usd in _hourly_usd(product["terms"].get("OnDemand", {})):
                found[attributes["instanceType"]] = max(usd, found.get(attributes["instanceType"], 0.0))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return dict(sorted(found.items()))


def _hourly_usd(terms: Mapping[str, Any]) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and usd > 0:
                yield usd


# --- spot -----------------------------------------------------------------------------------------------------------


def _spot(api: Api) -> dict[str, float]:
    """The present price of each type, where zones differ the highest: a plan must not promise the luckiest zone."""
    history = api.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        what="asking for spot prices",
        ProductDescriptions=[_SPOT_PRODUCT],
        StartTime=answer_cache.utc_now(),
        MaxResults=_PER_SPOT_PAGE,
    )
    newest: dict[tuple[str, str], tuple[datetime.datetime, float]] = {}
    for one in history:
        place = one["InstanceType"], one["AvailabilityZone"]
        newest[place] = max(newest.get(place, (one["Timestamp"], 0.0)), (one["Timestamp"], float(one["SpotPrice"])))
    found: dict[str, float] = {}
    for (name, _), (_, usd) in newest.items():
        found[name] = max(usd, found.get(name, 0.0))
    return dict(sorted(found.items()))


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200]
