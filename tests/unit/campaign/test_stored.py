"""A campaign stands once in the program; its document keeps the words and places of earlier versions."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from harness.campaign import stored
from harness.campaign.campaign import from_mapping


@pytest.mark.parametrize(
    "written",
    [
        {"instance_types": ["lab.phc"]},
        {"bench": "ec2", "instance_types": ["m7i.large"]},
        {
            "bench": "ec2",
            "select": {"phc": "supported", "arch": "arm64", "family": "c8*"},
            "region": "eu-north-1",
            "image": "baked:al2023",
            "placement": "group:mine",
            "lease": "90m",
            "ec2": {"zones": ["eu-north-1b"], "volume_gib": 20, "market": "spot"},
        },
    ],
)
def test_a_document_is_read_as_the_campaign_that_was_written(written: dict[str, Any]) -> None:
    campaign = from_mapping(written)
    document = json.loads(json.dumps(stored.to_document(campaign)))
    assert stored.from_document(document) == campaign
    assert document["region"] == document["cloud"]["region"] == written.get("region")
    assert document["image"] == written.get("image")
    assert document["cloud"]["image"] == written.get("image", "al2023")
    assert document["lease_s"] == document["cloud"]["lease_s"] == campaign.cloud.lease_s


@pytest.mark.parametrize("document", [{}, {"cloud": None}, {"cloud": "x", "image": None}, {"image": "al2023"}])
def test_what_is_no_campaign_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stored.from_document(document)
