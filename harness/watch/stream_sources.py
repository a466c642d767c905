"""Make streams of machines: how a worker reaches each host is resolved when it is added, and kept with the stream."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.model import Machine
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value
from harness.watch.host_route import read_route

STREAM = names.HOST
"""A stream's name is like a host's."""

_OURS = {
    "stricthostkeychecking", "userknownhostsfile", "globalknownhostsfile", "passwordauthentication", "batchmode",
    "connecttimeout", "connectionattempts", "serveraliveinterval", "serveralivecountmax", "loglevel", "controlmaster",
    "controlpath", "controlpersist", "identitiesonly", "compression", "forwardagent", "preferredauthentications",
    "gssapiauthentication", "tcpkeepalive", "addkeystoagent",
}  # fmt: skip
"""Options of ssh that a kept connection decides by itself."""


def make_source(machine: Machine, kind: Mapping[str, Any], *, traits: Mapping[str, str | None]) -> dict[str, Any]:
    """Make a stream's source of a machine. `kind`: its kind, and the names that belong to it; `traits`: as HostRoute's.

    Raises RequestError for arguments of ssh that the worker's connection has no way to honour, and StreamSourceError.
    """
    source = {
        **kind,
        "address": machine.address,
        "port": machine.port,
        "user": machine.user,
        "key": str(Path(machine.private_key).expanduser().absolute()) if machine.private_key else None,
        "known_hosts": machine.known_host.rstrip("\n") + "\n",
        "proxy": read_proxy(machine.ssh_options, machine.token.host),
        "traits": {name: value for name, value in traits.items() if value},
    }
    clock = machine.role_variables.get("clock_facts_clock_name")
    device = machine.role_variables.get("clock_facts_device")
    source |= {name: str(value) for name, value in (("clock_name", clock), ("device", device)) if value}
    read_route(source, stream=machine.token.host)
    return source


def read_proxy(options: Sequence[str], host: str) -> str | None:
    """Read the proxy command among arguments of ssh; a jump host becomes one. Raises RequestError for any other."""
    proxy: str | None = None
    words = iter(options)
    for word in words:
        flag, rest = word[:2], word[2:]
        if flag not in ("-o", "-J") or word in ("-o", "-J"):
            rest = next(words, "") if word in ("-o", "-J") else ""
        if flag == "-J":
            proxy = proxy or _jump(rest, host)
        elif flag == "-o" and (match := re.fullmatch(r"\s*(\w+)\s*[=\s]\s*(.*)", rest, re.DOTALL)):
            name, value = match[1].lower(), match[2].strip()
            if name == "proxycommand":
                proxy = proxy or (None if value == "none" else value)
            elif name == "proxyjump":
                proxy = proxy or (None if value == "none" else _jump(value, host))
            elif name not in _OURS:
                raise _refuse(rest, host)
        else:
            raise _refuse(word, host)
    return proxy


def _refuse(word: str, host: str) -> RequestError:
    return RequestError(
        f"{host}: a watch has no use for the argument {shorten_value(word)} of ssh",
        next_step="name a ProxyCommand or ProxyJump, and leave other arguments out",
    )


def _jump(jumps: str, host: str) -> str:
    """Write the proxy command of jump hosts: the last one passes the connection on, the others lead to it."""
    *before, last = [jump.strip() for jump in jumps.split(",")]
    if not all(re.fullmatch(r"[A-Za-z0-9_@.:\[\]%/-]+", jump) and not jump.startswith("-") for jump in (*before, last)):
        raise _refuse(jumps, host)
    address = last if last.startswith("ssh://") else f"ssh://{last}"
    through = ["-J", ",".join(before)] if before else []
    words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", *through, "-W"]
    return f"{shlex.join(words)} '[%h]:%p' {shlex.quote(address)}"


def check_stream_name(name: str) -> str:
    """Check the name of a stream. Raises RequestError."""
    if not names.fits(STREAM, name):
        raise RequestError(
            f"{shorten_value(name)} cannot name a stream",
            next_step="letters, digits, `.`, `_`, `:` and `-`, of which the first is a letter, a digit or `_`",
        )
    return name
