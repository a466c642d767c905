"""Load a Region's types with their prices, and tell how old both are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import catalogue, prices
from harness.benches.ec2.market.catalogue import Catalogue
from harness.benches.ec2.market.prices import Prices
from harness.model.bench_traits import BenchName
from harness.model.ec2_enums import Market
from harness.report import type_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The types with their prices. The prices are in the catalogue too; `ages` are two lines for people."""

    catalogue: Catalogue
    prices: Prices
    ages: tuple[str, str]

    def document(self, types: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Build the list as JSON-ready data, with these of its types."""
        prices_as_of = self.prices.as_of and self.prices.as_of.isoformat()
        return {
            "schema": type_table.SCHEMA,
            "bench": BenchName.EC2.value,
            "region": self.catalogue.region,
            "taken": self.catalogue.as_of.isoformat(),
            "prices": {"market": self.prices.market, "taken": prices_as_of, "why_unknown": self.prices.why_unknown},
            "types": list(types),
        }


def load(
    api: Api, cache_dir: Path, *, market: Market = Market.ON_DEMAND, offline: bool = False, refresh: bool = False
) -> Listing:
    """Load from the cache if recent enough, else from AWS. `refresh` always asks AWS, `offline` never does.

    Raises RequestError or SetupError when there is no catalogue; missing prices raise nothing.
    """
    types_age_s = 0.0 if refresh else catalogue.MAX_AGE_S
    types = catalogue.load(api, cache_dir, offline=offline, max_age_s=types_age_s)
    loaded_prices = prices.load(api, cache_dir, market=market, offline=offline, max_age_s=0.0 if refresh else None)
    return Listing(
        catalogue=prices.with_prices(types, loaded_prices),
        prices=loaded_prices,
        ages=(_describe_types_age(types), _describe_prices_age(loaded_prices)),
    )


def _describe_types_age(loaded: Catalogue) -> str:
    return f"{loaded.region}: types as of {loaded.as_of:%Y-%m-%d %H:%M} UTC, {answer_cache.age_text(loaded.as_of)} ago"


def _describe_prices_age(loaded: Prices) -> str:
    when = (
        f" as of {loaded.as_of:%Y-%m-%d %H:%M} UTC, {answer_cache.age_text(loaded.as_of)} ago" if loaded.as_of else ""
    )
    text = f"{loaded.market} prices{when}" if when else f"{loaded.market} prices unknown"
    return text + (f": {loaded.why_unknown}" if loaded.why_unknown else "")
