"""Define a ring in guest memory: a base, a depth that is a power of two, a phase bit."""

import errno
from dataclasses import dataclass

from ena_device.device_errors import MessageRefused

MAX_DEPTH = 1024  # offered for the device's queues; one doorbell may execute all entries of a ring


@dataclass(slots=True, kw_only=True)
class Ring:
    """A ring that one side fills and the other reads; `count` only grows, address and phase are computed from it."""

    base: int
    depth: int
    entry_size: int
    count: int = 0

    def __post_init__(self) -> None:
        if self.depth < 1 or self.depth & self.depth - 1 or self.depth > MAX_DEPTH:
            raise MessageRefused(
                errno.EINVAL, f"ring of {self.depth} entries, a power of two up to {MAX_DEPTH} expected"
            )

    @property
    def address(self) -> int:
        """The address of the next entry."""
        return self.address_ahead(0)

    def address_ahead(self, entries: int) -> int:
        """Return the address of the entry that many entries after the next one."""
        return self.base + (self.count + entries) % self.depth * self.entry_size

    @property
    def phase(self) -> int:
        """The phase of the next entry: 1 in the first round, then inverted in each further round."""
        return 1 ^ self.count // self.depth & 1

    def entries_up_to(self, tail: int) -> int:
        """Count the entries from the next one up to a 16-bit tail.

        Raises MessageRefused when the ring cannot hold as many.
        """
        waiting = tail - self.count & 0xFFFF
        if waiting > self.depth:
            raise MessageRefused(errno.EINVAL, f"tail {tail} is {waiting} entries ahead in a ring of {self.depth}")
        return waiting
