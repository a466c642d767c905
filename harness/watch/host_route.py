"""Read how the host of a stream is reached: the `source` of a stream, checked before anything is done by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

MOST_KNOWN_HOSTS = 64 * 1024
_MOST_COMMAND = 4096


class StreamSourceError(HarnessError):
    """A stream whose source does not say how its host is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """How a host is reached by SSH.

    `private_key`: a file on the worker's machine, None for a key that ssh or an agent finds; `known_hosts`: lines of
    known_hosts(5) with the keys that are trusted, no other is; `proxy`: the command of a ProxyCommand (ssh_config(5)).
    `clock_name` and `device`: which of the host's clocks is sampled. `traits`: what incidents are grouped by.
    """

    address: str
    port: int
    user: str
    private_key: str | None
    known_hosts: str
    proxy: str | None
    clock_name: str
    device: str
    traits: Mapping[str, str]


def read_route(source: Mapping[str, Any], *, stream: str) -> HostRoute:
    """Read a stream's source. Raises StreamSourceError, in one sentence that names what is wrong."""

    def refuse(what: str) -> StreamSourceError:
        return StreamSourceError(
            f"the source of {stream} {what}",
            next_step=f"`ptp-harness watch remove {stream}`, then add it again",
        )

    def read(name: str, pattern: str, default: str | None = None) -> str:
        value = source.get(name, default)
        if not isinstance(value, str) or not names.fits(pattern, value):
            raise refuse(f"has {shorten_value(value)} for its {name}")
        return value

    port = source.get("port", 22)
    if type(port) is not int or not 0 < port < 65536:
        raise refuse(f"has {shorten_value(port)} for its port")
    known_hosts = source.get("known_hosts")
    if not isinstance(known_hosts, str) or not known_hosts.strip() or len(known_hosts) > MOST_KNOWN_HOSTS:
        raise refuse("has no host key, and none is trusted unseen")
    key, proxy = source.get("key"), source.get("proxy")
    if key is not None and not (isinstance(key, str) and names.fits(names.PATH, key)):
        raise refuse(f"has {shorten_value(key)} for its key")
    if proxy is not None and not (
        isinstance(proxy, str) and proxy and len(proxy) <= _MOST_COMMAND and "\0" not in proxy
    ):
        raise refuse("has no proxy command that can be run")
    traits = source.get("traits", {})
    if not isinstance(traits, dict) or not all(isinstance(value, str) for value in traits.values()):
        raise refuse("has traits that are no text")
    return HostRoute(
        address=read("address", names.ADDRESS),
        port=port,
        user=read("user", names.LOGIN),
        private_key=key,
        known_hosts=known_hosts,
        proxy=proxy,
        clock_name=read("clock_name", names.CLOCK, "ena-ptp-*"),
        device=read("device", names.PATH, "/dev/ptp_ena"),
        traits={str(name)[:32]: value[:255] for name, value in [*traits.items()][:16]},
    )
