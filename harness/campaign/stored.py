"""Write a campaign as the document that ledger and evidence keep, and read it, also one of an earlier version."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from harness.campaign.campaign import Campaign
from harness.model.observed import READINGS

_ADDED: tuple[tuple[str, object], ...] = (
    ("profiles", []),
    ("expect", {}),
    ("measure_readings", READINGS),
    ("disturbances", []),
)
"""Keys that earlier versions had not, with their defaults; they are written where the campaign sets them."""

_CAMPAIGN = TypeAdapter(Campaign)


def to_document(campaign: Campaign) -> dict[str, Any]:
    """Write a campaign as JSON-ready data.

    Region, image and lease stand at the top and below `cloud`, as earlier versions wrote them. At the top, `image` is
    null where the campaign names none; below `cloud` it is then the image that hosts start from.
    """
    document = _CAMPAIGN.dump_python(campaign, mode="json")
    for key, default in _ADDED:
        if document[key] == default:
            del document[key]
    cloud = document["cloud"]
    top = {"region": cloud["region"], "image": cloud["image"], "lease_s": cloud["lease_s"]}
    return {**document, **top, "cloud": {**cloud, "image": campaign.cloud.image_name}}


def from_document(document: Mapping[str, Any]) -> Campaign:
    """Read a stored campaign. Raises ValidationError (pydantic) where it is no campaign that is understood."""
    cloud = document.get("cloud")
    if isinstance(cloud, Mapping) and "image" in document:
        document = {**document, "cloud": {**cloud, "image": document["image"]}}
    return _CAMPAIGN.validate_python(document)
