"""How does the device interrupt the guest? By the eventfd that QEMU gave for each MSI-X vector."""

import errno
import os

from ena_device.errors import Refused

VECTORS = 9  # one for management, eight for queues
_ONE = (1).to_bytes(8, "little")  # eventfd(2): each write adds an 8-byte number


class Interrupts:
    """The eventfds by vector; owns them."""

    def __init__(self) -> None:
        self._fds: dict[int, int] = {}

    @property
    def vectors(self) -> list[int]:
        return sorted(self._fds)

    def set(self, first: int, fds: list[int | None]) -> None:
        """Replace the eventfds of the vectors from `first`; None switches one off. Raises Refused."""
        if first + len(fds) > VECTORS:
            raise Refused(errno.EINVAL, f"vectors {first}..{first + len(fds) - 1}, the device has {VECTORS}")
        for vector, fd in enumerate(fds, first):
            self._drop(vector)
            if fd is not None:
                os.set_blocking(fd, False)  # a peer that never reads must not stop the device
                self._fds[vector] = fd

    def clear(self) -> None:
        for vector in self.vectors:
            self._drop(vector)

    def fire(self, vector: int) -> None:
        """Interrupt the guest, if it listens on this vector."""
        fd = self._fds.get(vector)
        if fd is None:
            return
        try:
            os.write(fd, _ONE)
        except OSError:  # full: the guest has an interrupt pending already; or not an eventfd: the peer's own doing
            return

    def _drop(self, vector: int) -> None:
        fd = self._fds.pop(vector, None)
        if fd is not None:
            os.close(fd)
