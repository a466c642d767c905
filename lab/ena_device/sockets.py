"""Create a unix socket that appears at its path only when it listens, and disappears with this process."""

import contextlib
import os
import socket
from pathlib import Path

from ena_device.device_errors import DeviceSetupError

MAX_PATH = 107  # unix(7): sun_path holds 108 bytes, the last a zero


class ListeningSocket:
    """A listening socket at a path; close() removes the path if it still is this socket."""

    def __init__(self, path: str, backlog: int) -> None:
        """Listen at the path. Raises DeviceSetupError when it cannot be used, or another process listens there."""
        if len(os.fsencode(path)) > MAX_PATH:
            raise DeviceSetupError(
                f"socket path of {len(os.fsencode(path))} bytes, at most {MAX_PATH} possible: {path}"
            )
        if _is_served(path):
            raise DeviceSetupError(f"another process listens on {path}: end it, or use another path")
        self._path = path
        try:
            self._sock = _bind(path, backlog)
            self._identity = _identity(path)
        except OSError as e:
            raise DeviceSetupError(f"cannot listen on {path}: {e.strerror or e}") from e

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> socket.socket | None:
        """Accept a connection; None when the client is already gone."""
        try:
            return self._sock.accept()[0]
        except OSError:
            return None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)
        self._sock.close()


def _bind(path: str, backlog: int) -> socket.socket:
    """Bind in the same folder and rename, so that the path exists only while the socket listens."""
    folder, name = os.path.split(path)
    folder_fd = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        temporary_name = f".{os.getpid()}.{sock.fileno()}"
        sock.bind(f"/proc/self/fd/{folder_fd}/{temporary_name}")  # short, however long the folder's name
        sock.listen(backlog)
        sock.setblocking(False)
        os.rename(temporary_name, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder_fd)
    return sock


def _is_served(path: str) -> bool:
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False  # left behind by a process that was killed
    return True


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
