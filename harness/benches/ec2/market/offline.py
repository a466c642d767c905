"""Which Regions and types are known here without asking anybody? From the lists that `types` and campaigns kept."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.answer_cache import CachedAnswer

_AWS = "https://ec2.{}.amazonaws.com"
_REGION = re.compile(r"types-(?P<region>[a-z0-9-]+)(@.*)?\.json")


def regions(cache_dir: Path, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Each Region with the age of its list, the newest first."""
    found = sorted(_lists(cache_dir, environ), key=lambda one: one[1].taken, reverse=True)
    return [(region, f"types as of {answer_cache.age_text(kept.taken)} ago") for region, kept in found]


def types(cache_dir: Path, region: str | None, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Each type of a Region with a line about it: of the environment's, or of the newest list, where none is named."""
    lists = dict(_lists(cache_dir, environ))
    named = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if named is None and lists:
        named = max(lists, key=lambda name: lists[name].taken)
    if named not in lists:
        return []
    try:
        return [(one["name"], _about(one)) for one in lists[named].content]
    except (KeyError, TypeError):  # of another version
        return []


def families(cache_dir: Path, region: str | None, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Each family of that list, with how many sizes it has."""
    names = [name.partition(".")[0] for name, _ in types(cache_dir, region, environ)]
    return [(name, f"{names.count(name)} sizes") for name in dict.fromkeys(names)]


def _about(one: Mapping[str, Any]) -> str:
    phc = {True: "PHC", False: "no PHC", None: "PHC unknown"}[one["phc"]]
    return f"{one['architecture']}, {one['vcpus']} vCPUs, {phc} by the API"


def _lists(cache_dir: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, CachedAnswer]]:
    """What was kept of the endpoint that would be asked now."""
    endpoint = environ.get("AWS_ENDPOINT_URL_EC2") or environ.get("AWS_ENDPOINT_URL") or _AWS
    for path in sorted((cache_dir / "ec2").glob("types-*.json")):
        if (named := _REGION.fullmatch(path.name)) is None:
            continue
        region = named["region"]
        if path != answer_cache.cache_file(cache_dir, "types", region, endpoint.format(region)):
            continue
        if (kept := answer_cache.read(path)) is not None:
            yield region, kept
