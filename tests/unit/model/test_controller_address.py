"""Whose SSH is let in: one address, or nobody's."""

import pytest

from harness.model.controller_address import parse_network


def test_an_address_becomes_a_network_of_one() -> None:
    assert parse_network(b"192.0.2.7\n") == "192.0.2.7/32"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"2001:db8::1", b"0.0.0.0/0", b"192.0.2.7 198.51.100.1", b"\xff"])
def test_any_other_answer_is_quoted_and_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="which is no IPv4 address"):
        parse_network(answer)
