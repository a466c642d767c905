"""Interrupt the guest by the eventfd that QEMU gave for each MSI-X vector."""

import errno
import os

from ena_device.device_errors import MessageRefused

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
        """Replace the eventfds of the vectors from `first` by copies; None switches one off. Raises MessageRefused."""
        if first + len(fds) > VECTORS:
            raise MessageRefused(errno.EINVAL, f"vectors {first}..{first + len(fds) - 1}, the device has {VECTORS}")
        for vector, fd in enumerate(fds, first):
            copy = None if fd is None else _copy(fd)
            self._drop(vector)
            if copy is not None:
                self._fds[vector] = copy

    def clear(self) -> None:
        for vector in self.vectors:
            self._drop(vector)

    def fire(self, vector: int) -> None:
        """Interrupt the guest, if this vector has an eventfd."""
        fd = self._fds.get(vector)
        if fd is None:
            return
        try:
            os.write(fd, _ONE)
        except OSError:  # full: an interrupt is pending already; or not an eventfd: the peer's own mistake
            return

    def _drop(self, vector: int) -> None:
        fd = self._fds.pop(vector, None)
        if fd is not None:
            os.close(fd)


def _copy(fd: int) -> int:
    """Duplicate an eventfd as non-blocking. Raises MessageRefused for a descriptor that cannot be one."""
    try:
        os.set_blocking(fd, False)  # a peer that never reads must not stop the device
        return os.dup(fd)
    except OSError as e:
        raise MessageRefused(e.errno or errno.EINVAL, f"a descriptor that cannot interrupt: {e.strerror}") from e
