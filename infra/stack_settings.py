"""Read a stack's configuration as one frozen object. An error names every wrong setting at once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import cast

from harness.model.cloud import LEAST_VOLUME_GIB, MOST_VOLUME_GIB
from harness.model.controller_address import NETWORKS, parse_networks
from harness.model.ec2_enums import Access, Market, PlacementKeyword
from harness.model.ec2_placement import EXISTING
from harness.model.image_aliases import ALIASES


class SettingsError(Exception):
    """A wrong or missing setting; the message names it and the command that sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSettings:
    """The configuration as Pulumi.yaml describes it. An empty string means that the setting is not set."""

    region: str
    instance_type: str
    image: str
    user: str
    placement: str
    zone: str
    subnet_id: str
    access: Access
    controller_cidr: str
    public_key: str
    host_key: str = field(repr=False)
    instance_profile: str
    market: Market
    volume_gib: int
    lease_minutes: int
    expires: str
    run: str
    host: str
    token: str
    owner: str
    resource_name: str

    @property
    def image_is_given(self) -> bool:
        """Tell whether the image is an id, not a name whose newest image is looked up."""
        return self.image.startswith("ami-")


def key(name: str) -> str:
    """The configuration key of a field: `volumeGib` for `volume_gib`."""
    first_word, *other_words = name.split("_")
    return first_word + "".join(word.capitalize() for word in other_words)


KEYS = {setting.name: key(setting.name) for setting in fields(ProgramSettings) if setting.name != "region"}


def read(get: Callable[[str], str | None], *, region: str | None) -> ProgramSettings:
    """Read the settings by their keys with `get`. Raises SettingsError with a line for every wrong setting."""
    texts = {name: (get(key) or "").strip() for name, key in KEYS.items()}
    problems = [
        f"{KEYS[name]}: {texts[name]!r} is not {expected}; set it with `pulumi config set {KEYS[name]} VALUE`"
        for name, expected in _EXPECTED.items()
        if not _CHECKS[name](texts[name])
    ]
    if not region:
        problems.insert(0, "no Region is set: `pulumi config set aws:region eu-north-1`")
    if problems:
        raise SettingsError("\n".join(problems))
    return ProgramSettings(
        region=cast(str, region),
        **{name: texts[name] for name in texts if name not in ("access", "market", "volume_gib", "lease_minutes")},
        access=Access(texts["access"]),
        market=Market(texts["market"]),
        volume_gib=int(texts["volume_gib"]),
        lease_minutes=int(texts["lease_minutes"]),
    )


def _are_networks(text: str) -> bool:
    try:
        return len(parse_networks(text)) > 0
    except ValueError:
        return False


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _is_number_within(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdigit() and least <= int(text) <= most


_PLACEMENTS = tuple(PlacementKeyword)

_CHECKS: dict[str, Callable[[str], bool]] = {
    "instance_type": lambda text: re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", text) is not None,
    "image": lambda text: text in ALIASES or re.fullmatch(r"ami-[0-9a-f]+", text) is not None,
    "placement": lambda text: text in _PLACEMENTS or (text.startswith(EXISTING) and text != EXISTING),
    "access": lambda text: text in tuple(Access),
    "market": lambda text: text in tuple(Market),
    "controller_cidr": lambda text: not text or _are_networks(text),
    "subnet_id": lambda text: not text or text.startswith("subnet-"),
    "host_key": lambda text: not text or text.startswith("-----BEGIN OPENSSH PRIVATE KEY-----"),
    "public_key": lambda text: not text or re.match(r"ssh-(ed25519|rsa) \S", text) is not None,
    "volume_gib": lambda text: _is_number_within(text, LEAST_VOLUME_GIB, MOST_VOLUME_GIB),
    "lease_minutes": lambda text: _is_number_within(text, 1, 43200),
    "expires": lambda text: not text or _is_timestamp(text),
    "run": lambda text: _fits_tag(text) and text != "",
    "host": lambda text: _fits_tag(text),
    "token": lambda text: _fits_tag(text),
    "owner": lambda text: _fits_tag(text),
    "resource_name": lambda text: re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._:-]{0,249})?", text) is not None,
}

_EXPECTED = {
    "instance_type": "an instance type such as m7i.large",
    "image": f"one of {', '.join(ALIASES)}, or an image's id (ami-...)",
    "placement": f"one of {', '.join(_PLACEMENTS)}, or {EXISTING}NAME",
    "access": " or ".join(Access),
    "market": " or ".join(Market),
    "controller_cidr": NETWORKS,
    "subnet_id": "a subnet's id (subnet-...)",
    "host_key": "an OpenSSH private key",
    "public_key": "an OpenSSH public key of a kind that EC2 imports (ssh-ed25519 AAAA... or ssh-rsa AAAA...)",
    "volume_gib": f"a whole number from {LEAST_VOLUME_GIB} to {MOST_VOLUME_GIB}",
    "lease_minutes": "a whole number from 1 to 43200",
    "expires": "an ISO date and time such as 2027-01-31T12:00:00+00:00",
    "run": "a tag's value: letters, digits, spaces and + - = . _ : / @, at most 256",
    "host": "a tag's value",
    "token": "a tag's value",
    "owner": "a tag's value",
    "resource_name": "at most 250 letters, digits and . _ : -, the first one a letter or digit",
}


def _fits_tag(text: str) -> bool:
    return len(text) <= 256 and re.fullmatch(r"[\w +\-=.:/@]*", text) is not None
