"""Which instance types does a Region offer, and what does the API claim about each one's clock?"""

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

__all__ = ["MAX_AGE_S", "Catalogue", "TypeInfo", "load"]

MAX_AGE_S = 86_400.0
"""New types and claims come by weeks, not by hours."""

SOURCE = "DescribeInstanceTypes"
ARCHITECTURES = ("x86_64", "arm64")
"""Those of our images. A type with none of them (Macs) is left out."""

_PER_CALL = 100  # the most that DescribeInstanceTypes answers at once
_PER_PAGE = 1000  # ... and DescribeInstanceTypeOfferings
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What a Region offers, ordered by family and size. `taken` is when the API said so."""

    region: str
    taken: datetime.datetime
    types: Mapping[str, TypeInfo]

    def claim(self, name: str) -> Claim | None:
        """What the API claims about a type's clock; None where it says nothing."""
        phc = self.types[name].phc if name in self.types else None
        return None if phc is None else Claim(phc_supported=phc, source=SOURCE, date=self.taken.date().isoformat())


def load(api: Api, cache_dir: Path, *, offline: bool = False, max_age_s: float = MAX_AGE_S) -> Catalogue:
    """What the API's Region offers: as kept, while that is not older than `max_age_s`, else asked and kept.

    `offline` asks nothing, however old. Raises RequestError when nothing was kept then, SetupError when AWS cannot be
    asked or offers nothing.
    """
    path = answer_cache.cache_file(cache_dir, "types", api.region, api.endpoint("ec2"))
    kept = answer_cache.read(path)
    if offline and kept is None:
        raise RequestError(
            f"no list of the types of {api.region} has been kept here",
            next_step=f"once without --offline: `ptp-harness types --region {api.region}` keeps one",
        )
    if kept is not None and (offline or kept.age_s() < max_age_s):
        return _catalogue(api.region, kept)
    try:
        offered = _offered(api)
        found = list(_described(api, sorted(offered)))
    except BenchError as error:
        older = f"; --offline shows the list of {kept.taken:%Y-%m-%d}" if kept else ""
        raise SetupError(
            f"cannot ask for the types of {api.region}: {error.message}", next_step=error.next_step + older
        ) from error
    types = [_type(said, offered[said["InstanceType"]]) for said in found]
    if not types:
        raise SetupError(f"{api.region} offers no instance types", next_step="is the Region's name right?")
    return _catalogue(api.region, answer_cache.write(path, [asdict(one) for one in types if one is not None]))


def _offered(api: Api) -> Mapping[str, tuple[str, ...]]:
    """The zones of each type that the Region offers."""
    zones: dict[str, set[str]] = defaultdict(set)
    for offer in api.pages(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        what="listing what the zones offer",
        LocationType="availability-zone",
        MaxResults=_PER_PAGE,
    ):
        zones[offer["InstanceType"]].add(offer["Location"])
    return {name: tuple(sorted(where)) for name, where in zones.items()}


def _described(api: Api, names: Sequence[str]) -> Iterable[Any]:
    """What the API says of each type, some hundreds at a time: by name a page does not wait for the one before it."""

    def some(start: int) -> list[Any]:
        wanted = [exact_filter("instance-type", *names[start : start + _PER_CALL])]
        what = "describing instance types"
        pages = api.pages(
            "ec2", "describe_instance_types", "InstanceTypes", what=what, Filters=wanted, MaxResults=_PER_CALL
        )
        return list(pages)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="types") as pool:
        for page in pool.map(some, range(0, len(names), _PER_CALL)):
            yield from page


def _type(said: Mapping[str, Any], zones: tuple[str, ...]) -> TypeInfo | None:
    """One type in our words; None for one that no image of ours can run on."""
    offers = said.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
    architecture = next((one for one in ARCHITECTURES if one in offers), None)
    if architecture is None:
        return None
    name: str = said["InstanceType"]
    family, _, size = name.partition(".")
    return TypeInfo(
        name=name,
        family=family,
        size=size,
        architecture=architecture,
        vcpus=said["VCpuInfo"]["DefaultVCpus"],
        memory_mib=said["MemoryInfo"]["SizeInMiB"],
        phc={"supported": True, "unsupported": False}.get(said.get("PhcSupport", "")),  # older models say nothing
        ena=said.get("NetworkInfo", {}).get("EnaSupport", "unknown"),
        zones=zones,
        price_per_hour_usd=None,
        bare_metal=said.get("BareMetal", False),
        current_generation=said.get("CurrentGeneration", False),
    )


def _catalogue(region: str, kept: CachedAnswer) -> Catalogue:
    found = [TypeInfo(**{**one, "zones": tuple(one["zones"])}) for one in kept.content]
    ordered = sorted(found, key=lambda one: (one.family, one.vcpus, one.memory_mib, one.name))
    return Catalogue(region=region, taken=kept.taken, types={one.name: one for one in ordered})
