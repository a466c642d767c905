"""Addresses of one's own network are told from public ones in every form that a resolver takes."""

import importlib.util
import ipaddress
import random
import socket
from pathlib import Path

import pytest

from harness.untrusted.addresses import is_public_address, may_be_public, parse_address

ROOT = Path(__file__).parents[3]
OWN = [
    "127.0.0.1", "127.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001", "0177.0.0.1", "0", "0.0.0.0",
    "10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "2852039166", "100.64.0.1",
    "192.0.2.7", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "[::1]", "fe80::1%eth0", "fd00:ec2::254", "::ffff:10.0.0.1", "::ffff:7f00:1", "64:ff9b::a00:1",
    "2002:a00:1::", "ff02::1", "2001:db8::1", "127.0.0.1.", "１２７.0.0.1",
    "localhost", "LOCALHOST", "localhost.", "db", "metadata", "metadata.google.internal", "printer.local", "nas.lan",
    "host.docker.internal", "a.localhost", "1.0.0.127.in-addr.arpa", "", ".", "..", "a..b",
]  # fmt: skip
PUBLIC = [
    "93.184.215.14", "8.8.8.8", "134744072", "0x08080808", "172.32.0.1", "100.128.0.1", "192.169.0.1",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "[2606:4700::1111]", "::ffff:8.8.8.8", "64:ff9b::808:808",
    "github.com", "GitHub.com.", "codeload.github.com", "mirror.example.org", "bücher.example", "10.example.org",
    "1.2.3.4.5.example", "256.256.256.256.example.org",
]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_a_host_of_an_own_network_is_not_public(host: str) -> None:
    assert not may_be_public(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_may_be_public(host: str) -> None:
    assert may_be_public(host)


def test_the_short_forms_of_addresses_are_those_of_the_resolver() -> None:
    drawn = random.Random(1)
    for _ in range(3000):
        parts = [drawn.choice([drawn.randrange(300), drawn.randrange(2**33), 0, 1]) for _ in range(drawn.randint(1, 5))]
        text = ".".join(drawn.choice([str, hex, lambda n: f"0{n:o}"])(number) for number in parts)
        try:
            expected = ipaddress.IPv4Address(socket.inet_aton(text))
        except OSError:
            expected = None
        assert parse_address(text) == expected, text


def test_the_role_that_downloads_tells_them_apart_in_the_same_way() -> None:
    path = ROOT / "roles/ena_driver/files/ena_archive_urls.py"
    spec = importlib.util.spec_from_file_location("ena_archive_urls", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = random.Random(2)
    addresses = [ipaddress.IPv4Address(drawn.randrange(2**32)) for _ in range(2000)]
    addresses += [ipaddress.IPv6Address(drawn.randrange(2**128)) for _ in range(500)]
    addresses += [ipaddress.IPv6Address((0x2002 << 112) | (int(each) << 80)) for each in addresses[:500]]
    addresses += [address for host in [*OWN, *PUBLIC] if (address := parse_address(host)) is not None]
    for address in addresses:
        assert is_public_address(address) is module.is_public(str(address), allow_local=False), address
