"""What a registry may say, and how it is refused: with every mistake, and without believing anything else."""

import json
from typing import Any

import pytest

from harness.model.sites import Site
from harness.service.sites.site_list import MOST_BYTES, MOST_SITES, RegistryError, parse_sites, write_sites

RACK: dict[str, Any] = {"name": "rack7", "url": "https://rack7.example.org/", "benches": ["lab", "ec2"]}


def written(*sites: object) -> bytes:
    return json.dumps({"sites": list(sites)}).encode()


def test_sites_come_in_the_order_of_their_names_and_unknown_keys_are_left_out() -> None:
    other = {"name": "aws", "url": "http://127.0.0.1:8440", "benches": ["ec2", "ec2"], "colour": "red"}
    sites = parse_sites(written(RACK, other), "x")
    assert sites == (
        Site(name="aws", url="http://127.0.0.1:8440", benches=("ec2",)),
        Site(name="rack7", url="https://rack7.example.org", benches=("lab", "ec2")),
    )
    assert parse_sites(written(*write_sites(sites)), "x") == sites


def test_no_sites_are_a_list_too() -> None:
    assert parse_sites(written(), "x") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html><body>Sign in</body></html>", "answers with HTML that is no JSON"),
        (b"", "answers with something that is no JSON"),
        (b"[" * 100_000, "that is no JSON"),
        (b"[]", "has no list `sites`"),
        (b'{"sites": {}}', "has no list `sites`"),
        (b" " * (MOST_BYTES + 1), f"has more than {MOST_BYTES} bytes"),
        (written(*[{}] * (MOST_SITES + 1)), f"more than {MOST_SITES}"),
        (written(5), "site 1 has no name, url and benches"),
        (written(RACK, RACK), "'rack7' stands there twice"),
        (written(RACK | {"name": "../x"}), "site 1: '../x' is no name"),
        (written(RACK | {"name": 5}), "site 1: 5 is no name"),
        (written(RACK | {"url": "file:///etc/passwd"}), "is not one of http:// or https://"),
        (written(RACK | {"url": "https://a:b@c"}), "has a user, a query or a fragment"),
        (written(RACK | {"url": None}), "rack7: the URL '' of the site"),
        (written(RACK | {"benches": []}), "rack7: [] is no list of benches"),
        (written(RACK | {"benches": ["lab; rm -rf /"]}), "is no list of benches"),
        (written(RACK | {"benches": "lab"}), "'lab' is no list of benches"),
    ],
)
def test_what_is_no_registry_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RegistryError) as refused:
        parse_sites(content, "https://registry.example.org")
    assert said in refused.value.message
    assert len(refused.value.message) < 2000


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(RegistryError, match=r"'A' is no name.*not one of http.*no list of benches"):
        parse_sites(written(RACK | {"name": "A"}, RACK | {"url": "x"}, RACK | {"name": "b", "benches": 1}), "x")
