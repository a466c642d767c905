"""Define the errors of a request to the device; each class tells who has to act."""

import errno


class MessageRefused(Exception):
    """A vfio-user message that cannot be executed: QEMU gets an error reply, the connection goes on."""

    def __init__(self, error: int, text: str) -> None:
        self.error = error
        super().__init__(f"{text} ({errno.errorcode.get(error, error)})")


class BrokenPeer(Exception):
    """The peer violates the protocol, or is gone: the connection is closed."""


class CommandRejected(Exception):
    """An admin command that the device does not execute: the driver gets this completion status."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class BadRequest(Exception):
    """An invalid control line or option: the text goes back to its author."""


class DeviceSetupError(Exception):
    """The machine does not let the device serve: a socket path is too long, a process does not exist."""
