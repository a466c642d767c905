"""Network namespaces around centres: each has a link of its own to each centre, which a test cuts and mends."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_ROOMS = ("192.0.2", "198.51.100", "203.0.113")  # documentation addresses: nobody has them
_FIRST = 100
"""The last byte of the address of the first name around a centre; a centre has those below."""


class StarNetwork:
    """A namespace with a bridge for each centre, and one for each name, which has a link to each centre.

    `addresses`: how many each centre has.
    """

    def __init__(self, ip: str, prefix: str, names: Sequence[str], addresses: Mapping[str, int]) -> None:
        self._ip, self._prefix, self._names, self._addresses = ip, prefix, [*names], addresses
        self._rooms = dict(zip(addresses, _ROOMS, strict=False))

    def enter(self, name: str) -> list[str]:
        """The beginning of a command in the namespace of a centre or a name."""
        return ["nsenter", f"--net=/run/netns/{self._prefix}{name}", "--"]

    def network(self, centre: str) -> str:
        """The network of a centre and of all links to it."""
        return f"{self._rooms[centre]}.0/24"

    def address(self, centre: str, number: int) -> str:
        """An address of a centre, from 1."""
        return f"{self._rooms[centre]}.{number}"

    def address_of(self, name: str, centre: str) -> str:
        """The address from which a name reaches a centre."""
        return f"{self._rooms[centre]}.{_FIRST + self._names.index(name)}"

    def cut(self, name: str, centre: str) -> None:
        """Let no packet pass between a name and a centre."""
        self._set_link(name, centre, "down")

    def mend(self, name: str, centre: str) -> None:
        """Let packets pass again."""
        self._set_link(name, centre, "up")

    def _set_link(self, name: str, centre: str, state: str) -> None:
        self._run(centre, "link", "set", f"to-{self._names.index(name)}", state)

    def make(self) -> None:
        """Make the namespaces. Raises CalledProcessError without the right to do so."""
        for name in (*self._rooms, *self._names):
            subprocess.run([self._ip, "netns", "add", self._prefix + name], check=True, capture_output=True)
            self._run(name, "link", "set", "lo", "up")
        for centre, count in self._addresses.items():
            self._run(centre, "link", "add", "bridge", "type", "bridge")
            for number in range(1, count + 1):
                self._run(centre, "address", "add", f"{self.address(centre, number)}/24", "dev", "bridge")
            self._run(centre, "link", "set", "bridge", "up")
            for index, name in enumerate(self._names):
                far = ["peer", "name", centre, "netns", self._prefix + name]
                self._run(centre, "link", "add", f"to-{index}", "type", "veth", *far)
                self._run(centre, "link", "set", f"to-{index}", "master", "bridge")
                self._run(centre, "link", "set", f"to-{index}", "up")
                self._run(name, "address", "add", f"{self.address_of(name, centre)}/24", "dev", centre)
                self._run(name, "link", "set", centre, "up")

    def remove(self) -> None:
        for name in (*self._rooms, *self._names):
            subprocess.run([self._ip, "netns", "delete", self._prefix + name], check=False, capture_output=True)

    def _run(self, name: str, *words: str) -> None:
        subprocess.run([*self.enter(name), self._ip, *words], check=True, capture_output=True)


class MachineLacksError(Exception):
    """This machine lacks a program or a right that a test needs: the test is skipped with this reason."""


@contextmanager
def star_network(names: Sequence[str], addresses: Mapping[str, int]) -> Iterator[StarNetwork]:
    """Make a star; `addresses`: by centre, how many it has. Raises MachineLacksError."""
    ip = shutil.which("ip", path=_PATH)
    if ip is None or shutil.which("nsenter") is None:
        raise MachineLacksError("needs iproute2's `ip` and `nsenter`")
    network = StarNetwork(ip, f"ptp-{os.getpid()}-", names, addresses)
    try:
        try:
            network.make()
        except subprocess.CalledProcessError as error:
            raise MachineLacksError(f"needs the right to make network namespaces: {error.stderr!r}") from error
        yield network
    finally:
        network.remove()
