"""Addresses of hosts: their own, inside 127.0.0.0/16, and never one that another holds."""

import ipaddress

import pytest

from harness.benches.lab.guests import loopback_address
from harness.errors import SetupError


class Monitor:
    """QEMU's monitor on a machine where some addresses and ports are taken."""

    def __init__(self, free_port: int | None, taken: tuple[str, ...] = ()) -> None:
        self.free_port, self.taken = free_port, taken
        self.asked: list[str] = []

    def monitor(self, line: str) -> str:
        self.asked.append(line)
        _, address, port, _ = line.split(":")
        free = int(port.removesuffix("-")) == self.free_port and address not in self.taken
        return "" if free else "Could not set up host forwarding rule"


def test_candidates_are_loopback_addresses_that_no_resolver_or_router_uses() -> None:
    found = list(loopback_address.candidate_addresses("a host", 500))
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network("127.0.0.0/16") for address in found)
    assert not [address for address in found if address.split(".")[2] == "0" or address.split(".")[3] in ("0", "255")]
    assert found == list(loopback_address.candidate_addresses("a host", 500))
    assert found[:8] != list(loopback_address.candidate_addresses("another", 8))


def test_the_first_free_address_is_taken_and_the_taken_ones_are_passed() -> None:
    first, second, *_ = loopback_address.candidate_addresses("h")
    monitor = Monitor(free_port=22, taken=(first,))
    assert loopback_address.listen_for_ssh(monitor, "h") == (second, 22)  # type: ignore[arg-type]
    assert monitor.asked == [f"hostfwd_add ssh tcp:{address}:22-:22" for address in (first, second)]


def test_where_port_22_may_not_be_used_a_high_one_is() -> None:
    first, *_ = loopback_address.candidate_addresses("h")
    assert loopback_address.listen_for_ssh(Monitor(free_port=10022), "h") == (first, 10022)  # type: ignore[arg-type]


def test_no_free_port_anywhere_is_one_clear_sentence() -> None:
    with pytest.raises(SetupError, match=r"no address 127\.0\.x\.y has port 22 or 10022 free for a guest: Could not"):
        loopback_address.listen_for_ssh(Monitor(free_port=None), "h")  # type: ignore[arg-type]
