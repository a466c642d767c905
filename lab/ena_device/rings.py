"""What do the device's rings in guest memory have in common? A base, a depth that is a power of two, a phase bit."""

import errno
from dataclasses import dataclass

from ena_device.device_errors import MessageRefused

MAX_DEPTH = 1024  # what the device offers for its queues; all of a ring may be worked off at one doorbell


@dataclass(slots=True, kw_only=True)
class Ring:
    """A ring that one side fills and the other follows; count goes up for ever, its place and phase follow from it."""

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
        """Of the entry that comes next."""
        return self.base + self.count % self.depth * self.entry_size

    @property
    def phase(self) -> int:
        """Of the entry that comes next: 1 in the first round, then turning with each."""
        return 1 ^ self.count // self.depth & 1

    def behind(self, tail: int) -> int:
        """Count the entries between here and a 16-bit tail.

        Raises MessageRefused when the ring cannot hold as many.
        """
        waiting = tail - self.count & 0xFFFF
        if waiting > self.depth:
            raise MessageRefused(errno.EINVAL, f"tail {tail} is {waiting} entries ahead in a ring of {self.depth}")
        return waiting
