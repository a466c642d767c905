"""Network namespaces around one: each has a link of its own to the middle, which a test cuts and mends."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_ROOM = "192.0.2"  # documentation addresses: nobody has them


class StarNetwork:
    """A namespace in the middle with a bridge, and one for each name around it."""

    def __init__(self, ip: str, prefix: str, names: Sequence[str]) -> None:
        self._ip, self._prefix, self._names = ip, prefix, [*names]
        self.network = f"{_ROOM}.0/24"

    def enter(self, name: str) -> list[str]:
        """The beginning of a command in the namespace of a name; the middle is "middle"."""
        return ["nsenter", f"--net=/run/netns/{self._prefix}{name}", "--"]

    def address(self, number: int) -> str:
        """An address of the middle, from 1."""
        return f"{_ROOM}.{number}"

    def cut(self, name: str) -> None:
        """Let no packet pass between a namespace and the middle."""
        self._run("middle", "link", "set", f"to-{self._names.index(name)}", "down")

    def mend(self, name: str) -> None:
        """Let packets pass again."""
        self._run("middle", "link", "set", f"to-{self._names.index(name)}", "up")

    def make(self, addresses: int) -> None:
        """Make the namespaces. Raises CalledProcessError without the right to do so."""
        for name in ("middle", *self._names):
            subprocess.run([self._ip, "netns", "add", self._prefix + name], check=True, capture_output=True)
        self._run("middle", "link", "add", "bridge", "type", "bridge")
        for number in range(1, addresses + 1):
            self._run("middle", "address", "add", f"{self.address(number)}/24", "dev", "bridge")
        self._run("middle", "link", "set", "bridge", "up")
        self._run("middle", "link", "set", "lo", "up")
        for index, name in enumerate(self._names):
            far = ["peer", "name", "out", "netns", self._prefix + name]
            self._run("middle", "link", "add", f"to-{index}", "type", "veth", *far)
            self._run("middle", "link", "set", f"to-{index}", "master", "bridge")
            self._run("middle", "link", "set", f"to-{index}", "up")
            self._run(name, "address", "add", f"{_ROOM}.{100 + index}/24", "dev", "out")
            self._run(name, "link", "set", "out", "up")
            self._run(name, "link", "set", "lo", "up")

    def remove(self) -> None:
        for name in ("middle", *self._names):
            subprocess.run([self._ip, "netns", "delete", self._prefix + name], check=False, capture_output=True)

    def _run(self, name: str, *words: str) -> None:
        subprocess.run([*self.enter(name), self._ip, *words], check=True, capture_output=True)


@contextmanager
def star_network(names: Sequence[str], *, addresses: int = 2) -> Iterator[StarNetwork]:
    """Make a star; `addresses`: of the middle. Raises OSError where this machine or user cannot."""
    ip = shutil.which("ip", path=_PATH)
    if ip is None or shutil.which("nsenter") is None:
        raise OSError("needs iproute2's `ip` and `nsenter`")
    network = StarNetwork(ip, f"ptp-{os.getpid()}-", names)
    try:
        try:
            network.make(addresses)
        except subprocess.CalledProcessError as error:
            raise OSError(f"needs the right to make network namespaces: {error.stderr!r}") from error
        yield network
    finally:
        network.remove()
