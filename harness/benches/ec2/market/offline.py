"""Read the known Regions and types from the cached lists of `types` and of campaigns, without asking AWS."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.answer_cache import CachedAnswer
from harness.model.ec2 import family

_AWS = "https://ec2.{}.amazonaws.com"
_REGION = re.compile(r"types-(?P<region>[a-z0-9-]+)(@.*)?\.json")


def regions(cache_dir: Path, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """List each Region with the age of its list, newest first."""
    lists = sorted(_read_lists(cache_dir, environ), key=lambda entry: entry[1].as_of, reverse=True)
    return [(region, f"types as of {answer_cache.age_text(cached.as_of)} ago") for region, cached in lists]


def types(cache_dir: Path, region: str | None, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """List each type of a Region with a line about it.

    Without `region`: the types of the environment's Region, else of the newest list.
    """
    lists = dict(_read_lists(cache_dir, environ))
    chosen = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if chosen is None and lists:
        chosen = max(lists, key=lambda name: lists[name].as_of)
    if chosen not in lists:
        return []
    try:
        return [(info["name"], _describe_type(info)) for info in lists[chosen].content]
    except (KeyError, TypeError):  # a list in another version's format
        return []


def families(cache_dir: Path, region: str | None, environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """List each family of that list, with the number of its sizes."""
    names = [family(name) for name, _ in types(cache_dir, region, environ)]
    return [(name, f"{names.count(name)} sizes") for name in dict.fromkeys(names)]


def _describe_type(info: Mapping[str, Any]) -> str:
    phc = {True: "PHC", False: "no PHC", None: "PHC unknown"}[info["phc"]]
    return f"{info['architecture']}, {info['vcpus']} vCPUs, {phc} by the API"


def _read_lists(cache_dir: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, CachedAnswer]]:
    """Return the cached lists of the endpoint that would be asked now."""
    endpoint = environ.get("AWS_ENDPOINT_URL_EC2") or environ.get("AWS_ENDPOINT_URL") or _AWS
    for path in sorted((cache_dir / "ec2").glob("types-*.json")):
        if (match := _REGION.fullmatch(path.name)) is None:
            continue
        region = match["region"]
        if path != answer_cache.cache_file(cache_dir, "types", region, endpoint.format(region)):
            continue
        if (cached := answer_cache.read(path)) is not None:
            yield region, cached
