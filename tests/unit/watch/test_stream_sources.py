"""How a host is reached is kept as it was found; what a worker could not honour is refused when it is added."""

from typing import Any

import pytest

from harness.errors import HarnessError, RequestError
from harness.watch.host_route import read_route
from harness.watch.stream_sources import read_proxy

GOOD = {"kind": "inventory", "address": "10.0.0.5", "port": 22, "user": "root", "known_hosts": "10.0.0.5 ssh-ed25519 A"}


@pytest.mark.parametrize(
    ("options", "proxy"),
    [
        ((), None),
        (("-o", "ProxyCommand=nc %h %p"), "nc %h %p"),
        (("-oProxyCommand nc %h %p",), "nc %h %p"),
        (("-o", "StrictHostKeyChecking=no", "-o", "proxycommand = nc a b"), "nc a b"),
        (("-o", "ProxyCommand=none"), None),
        (("-J", "gate"), "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -W '[%h]:%p' ssh://gate"),
        (
            ("-Ja@one:22,two",),
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -J a@one:22 -W '[%h]:%p' ssh://two",
        ),
        (("-o", "ProxyCommand=first", "-o", "ProxyCommand=second"), "first"),
    ],
)
def test_a_proxy_or_jump_host_is_kept(options: tuple[str, ...], proxy: str | None) -> None:
    assert read_proxy(options, "a") == proxy


@pytest.mark.parametrize(
    "options",
    [("-L", "1:2:3"), ("-o", "LocalForward=1"), ("-v",), ("-J", "-oProxyCommand=x"), ("-J", "a;b"), ("-J",), ("-o",)],
)
def test_any_other_argument_is_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="a: a watch has no use for the argument"):
        read_proxy(options, "a")


def test_a_good_source_is_read() -> None:
    route = read_route(GOOD | {"traits": {"zone": "eu-north-1a"}}, stream="a")
    assert (route.address, route.port, route.user, route.private_key) == ("10.0.0.5", 22, "root", None)
    assert (route.clock_name, route.device, route.traits) == ("ena-ptp-*", "/dev/ptp_ena", {"zone": "eu-north-1a"})


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "-oProxyCommand=x"},
        {"address": None},
        {"address": 7},
        {"user": "a b"},
        {"user": "-l"},
        {"port": 0},
        {"port": "22"},
        {"port": True},
        {"known_hosts": ""},
        {"known_hosts": " \n"},
        {"known_hosts": None},
        {"known_hosts": "x" * 100_000},
        {"key": 7},
        {"key": "-i"},
        {"proxy": ""},
        {"proxy": ["nc"]},
        {"clock_name": "a'b"},
        {"device": "{{ x }}"},
        {"traits": []},
        {"traits": {"zone": 7}},
    ],
)
def test_a_source_with_a_mistake_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="the source of a has"):
        read_route(GOOD | changes, stream="a")
