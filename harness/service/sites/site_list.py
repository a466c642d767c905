"""Parse a list of sites. Whoever writes a registry is not trusted with more than names and addresses.

{"sites": [{"name": "rack7", "url": "https://rack7.example.org", "benches": ["lab"]}]}
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.client.addresses import check_url
from harness.errors import RequestError
from harness.model.sites import Site
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_mistakes, shorten_value

MOST_SITES = 1000
MOST_BYTES = 1 << 20
_KEYS = {"name", "url", "benches"}
_EXAMPLE = 'a registry is JSON: {"sites": [{"name": "rack7", "url": "https://rack7.example.org", "benches": ["lab"]}]}'


class RegistryError(RequestError):
    """A registry that could not be read, or is none."""


def parse_sites(content: bytes, where: str) -> tuple[Site, ...]:
    """Parse a list of sites, by name. Raises RegistryError with every mistake.

    Keys beside those of a site are left out: a later version may have more.
    """
    if len(content) > MOST_BYTES:
        raise RegistryError(f"the registry {where} has more than {MOST_BYTES} bytes", next_step=_EXAMPLE)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if content.lstrip()[:1] == b"<" else "something"
        raise RegistryError(f"the registry {where} answers with {kind} that is no JSON", next_step=_EXAMPLE) from error
    listed = data.get("sites") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise RegistryError(f"the registry {where} has no list `sites`", next_step=_EXAMPLE)
    if len(listed) > MOST_SITES:
        raise RegistryError(f"the registry {where} has {len(listed)} sites, more than {MOST_SITES}")
    mistakes = [
        mistake for number, entry in enumerate(listed, 1) for mistake in _find_mistakes(f"site {number}", entry)
    ]
    names_given = [entry["name"] for entry in listed if isinstance(entry, Mapping) and "name" in entry]
    mistakes += [f"{shorten_value(name)} stands there twice" for name in _find_repeated(names_given)]
    if mistakes:
        listed_mistakes = "; ".join(shorten_mistakes(mistakes))
        raise RegistryError(f"the registry {where} has mistakes: {listed_mistakes}", next_step=_EXAMPLE)
    return tuple(sorted((_make_site(entry) for entry in listed), key=lambda site: site.name))


def check_site(site: Site) -> Site:
    """Check a site that a person adds. Raises RegistryError with every mistake."""
    mistakes = _find_mistakes("the site", {"name": site.name, "url": site.url, "benches": list(site.benches)})
    if mistakes:
        raise RegistryError("; ".join(mistakes), next_step="ptp-harness site add rack7 https://rack7.example.org lab")
    return _make_site({"name": site.name, "url": site.url, "benches": site.benches})


def write_sites(sites: Sequence[Site]) -> list[dict[str, Any]]:
    """Write sites as a registry lists them."""
    return [{"name": site.name, "url": site.url, "benches": list(site.benches)} for site in sites]


def _make_site(entry: Mapping[str, Any]) -> Site:
    return Site(
        name=entry["name"],
        url=check_url(entry["url"], what="site"),
        benches=tuple(dict.fromkeys(entry["benches"])),
    )


def _find_mistakes(title: str, entry: object) -> list[str]:
    if not isinstance(entry, Mapping) or not entry.keys() >= _KEYS:
        return [f"{title} has no name, url and benches"]
    name, url, benches = entry["name"], entry["url"], entry["benches"]
    mistakes = []
    if not isinstance(name, str) or not names.fits(names.SITE, name):
        mistakes.append(f"{title}: {shorten_value(name)} is no name: small letters, digits, . and -, at most 63")
    else:
        title = name
    try:
        check_url(url if isinstance(url, str) else "", what="site")
    except RequestError as error:
        mistakes.append(f"{title}: {error.message}")
    if not isinstance(benches, list) or not 1 <= len(benches) <= 20 or not all(map(_is_bench, benches)):
        mistakes.append(f"{title}: {shorten_value(benches)} is no list of benches, such as lab, ec2")
    return mistakes


def _is_bench(name: object) -> bool:
    return isinstance(name, str) and names.fits(names.BENCH, name)


def _find_repeated(given: Sequence[object]) -> list[object]:
    texts = [name for name in given if isinstance(name, str)]
    return [name for name in dict.fromkeys(texts) if texts.count(name) > 1]
