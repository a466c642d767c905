"""Whose SSH is let in: one address, some networks, or nobody's."""

import pytest

from harness.model.controller_address import parse_network, parse_networks


def test_an_address_becomes_a_network_of_one() -> None:
    assert parse_network(b"192.0.2.7\n") == "192.0.2.7/32"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"2001:db8::1", b"0.0.0.0/0", b"192.0.2.7 198.51.100.1", b"\xff"])
def test_any_other_answer_is_quoted_and_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="which is no IPv4 address"):
        parse_network(answer)


def test_networks_stand_between_commas_and_each_counts_once() -> None:
    assert parse_networks("192.0.2.7/32") == ("192.0.2.7/32",)
    assert parse_networks("10.1.0.0/16 ,192.0.2.0/24,10.1.0.0/16") == ("10.1.0.0/16", "192.0.2.0/24")
    assert len(parse_networks(",".join(f"192.0.2.{number}/32" for number in range(16)))) == 16


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0/0", "would admit 4294967296 addresses"),
        ("10.0.0.0/15", "would admit 131072 addresses"),
        ("192.0.2.7/32,0.0.0.0/1", "would admit"),
        ("192.0.2.7", "is no network"),
        ("192.0.2.0/255.255.255.0", "is no network"),
        ("192.0.2.7/32,", "is no network"),
        ("", "is no network"),
        ("192.0.2.7/24", "has host bits set"),
        ("192.0.2.256/32", "not permitted"),
        ("2001:db8::/32", "is no network|Expected 4 octets"),
        (",".join(f"192.0.2.{number}/32" for number in range(17)), "17 networks are more than 16"),
    ],
)
def test_other_networks_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_networks(text)
