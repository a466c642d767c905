"""List the instance types that a Region offers, with the API's claim about each type's clock."""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.answer_cache import CachedAnswer
from harness.benches.ec2.api.api import Api, exact_filter
from harness.errors import RequestError, SetupError
from harness.model import Claim
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture

__all__ = ["MAX_AGE_S", "Catalogue", "TypeInfo", "load"]

MAX_AGE_S = 86_400.0
"""The age limit of a cached list: new types and claims appear within weeks, not within hours."""

SOURCE = "DescribeInstanceTypes"

_PER_CALL = 100  # the page limit of DescribeInstanceTypes
_PER_PAGE = 1000  # the page limit of DescribeInstanceTypeOfferings
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The types that a Region offers, ordered by family and size. `as_of` is the time of the API's answer."""

    region: str
    as_of: datetime.datetime
    types: Mapping[str, TypeInfo]

    def claim(self, name: str) -> Claim | None:
        """Return the API's claim about a type's clock; None where the API claims nothing."""
        phc = self.types[name].phc if name in self.types else None
        return None if phc is None else Claim(phc_supported=phc, source=SOURCE, date=self.as_of.date().isoformat())


def load(api: Api, cache_dir: Path, *, offline: bool = False, max_age_s: float = MAX_AGE_S) -> Catalogue:
    """Load the types of the Region: cached ones if not older than `max_age_s`, else from AWS, which renews the cache.

    With `offline`, AWS is not asked, and the cache may have any age. Raises RequestError when the cache is then empty,
    SetupError when AWS cannot be asked or offers nothing.
    """
    path = answer_cache.cache_file(cache_dir, "types", api.region, api.endpoint("ec2"))
    cached = answer_cache.read(path)
    if offline and cached is None:
        raise RequestError(
            f"no list of the types of {api.region} has been kept here",
            next_step=f"run once without --offline: `ptp-harness types --region {api.region}` keeps one",
        )
    if cached is not None and (offline or cached.age_s() < max_age_s):
        return _make_catalogue(api.region, cached)
    try:
        offered = _list_offers(api)
        descriptions = list(_describe_types(api, sorted(offered)))
    except BenchError as error:
        remedy = f"; --offline shows the list of {cached.as_of:%Y-%m-%d}" if cached else ""
        raise SetupError(
            f"cannot ask for the types of {api.region}: {error.message}", next_step=error.next_step + remedy
        ) from error
    types = [_parse_type(description, offered[description["InstanceType"]]) for description in descriptions]
    if not types:
        raise SetupError(f"{api.region} offers no instance types", next_step="is the Region's name right?")
    return _make_catalogue(api.region, answer_cache.write(path, [asdict(info) for info in types if info is not None]))


def _list_offers(api: Api) -> Mapping[str, tuple[str, ...]]:
    """Return the zones of each type that the Region offers."""
    zones: dict[str, set[str]] = defaultdict(set)
    for offer in api.pages(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        task="listing what the zones offer",
        LocationType="availability-zone",
        MaxResults=_PER_PAGE,
    ):
        zones[offer["InstanceType"]].add(offer["Location"])
    return {name: tuple(sorted(locations)) for name, locations in zones.items()}


def _describe_types(api: Api, names: Sequence[str]) -> Iterable[Any]:
    """Describe the types, 100 per call. Calls by name can run in parallel: no page waits for the one before it."""

    def describe_batch(start: int) -> list[Any]:
        filters = [exact_filter("instance-type", *names[start : start + _PER_CALL])]
        message = "describing instance types"
        pages = api.pages(
            "ec2", "describe_instance_types", "InstanceTypes", task=message, Filters=filters, MaxResults=_PER_CALL
        )
        return list(pages)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="types") as pool:
        for page in pool.map(describe_batch, range(0, len(names), _PER_CALL)):
            yield from page


def _parse_type(description: Mapping[str, Any], zones: tuple[str, ...]) -> TypeInfo | None:
    """Convert a type's description; None for a type that none of our images can run on, such as a Mac."""
    supported = description.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
    architecture = next((name for name in Architecture if name in supported), None)
    if architecture is None:
        return None
    name: str = description["InstanceType"]
    family, _, size = name.partition(".")
    return TypeInfo(
        name=name,
        family=family,
        size=size,
        architecture=architecture,
        vcpus=description["VCpuInfo"]["DefaultVCpus"],
        memory_mib=description["MemoryInfo"]["SizeInMiB"],
        phc={"supported": True, "unsupported": False}.get(description.get("PhcSupport", "")),  # older models do not say
        ena=description.get("NetworkInfo", {}).get("EnaSupport", "unknown"),
        zones=zones,
        price_per_hour_usd=None,
        bare_metal=description.get("BareMetal", False),
        current_generation=description.get("CurrentGeneration", False),
    )


def _make_catalogue(region: str, cached: CachedAnswer) -> Catalogue:
    infos = [
        TypeInfo(**entry | {"zones": tuple(entry["zones"]), "architecture": Architecture(entry["architecture"])})
        for entry in cached.content
    ]
    ordered = sorted(infos, key=lambda info: (info.family, info.vcpus, info.memory_mib, info.name))
    return Catalogue(region=region, as_of=cached.as_of, types={info.name: info for info in ordered})
