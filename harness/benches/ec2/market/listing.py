"""A Region's types with their prices, and how old both are."""

from dataclasses import dataclass
from pathlib import Path

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import catalogue, prices
from harness.benches.ec2.market.catalogue import Catalogue
from harness.benches.ec2.market.prices import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The catalogue has the prices in it; `ages` are two lines for people."""

    catalogue: Catalogue
    prices: Prices
    ages: tuple[str, str]


def load(
    api: Api, cache_dir: Path, *, market: str = "on-demand", offline: bool = False, refresh: bool = False
) -> Listing:
    """As kept while not too old, else asked; `refresh` asks anew, `offline` asks nobody.

    Raises RequestError or SetupError where there is no catalogue; without prices it goes on.
    """
    types_age_s = 0.0 if refresh else catalogue.MAX_AGE_S
    found = catalogue.load(api, cache_dir, offline=offline, max_age_s=types_age_s)
    known = prices.load(api, cache_dir, market=market, offline=offline, max_age_s=0.0 if refresh else None)
    return Listing(catalogue=prices.with_prices(found, known), prices=known, ages=(_of_types(found), _of_prices(known)))


def _of_types(found: Catalogue) -> str:
    return f"{found.region}: types as of {found.taken:%Y-%m-%d %H:%M} UTC, {answer_cache.age_text(found.taken)} ago"


def _of_prices(known: Prices) -> str:
    when = f" as of {known.taken:%Y-%m-%d %H:%M} UTC, {answer_cache.age_text(known.taken)} ago" if known.taken else ""
    words = f"{known.market} prices{when}" if when else f"{known.market} prices unknown"
    return words + (f": {known.why_unknown}" if known.why_unknown else "")
