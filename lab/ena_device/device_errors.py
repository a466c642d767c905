"""Which ways can a request to the device go wrong, and who has to act?"""

import errno


class MessageRefused(Exception):
    """One vfio-user message that cannot be done: QEMU gets an error reply, the connection goes on."""

    def __init__(self, error: int, text: str) -> None:
        self.error = error
        super().__init__(f"{text} ({errno.errorcode.get(error, error)})")


class BrokenPeer(Exception):
    """The peer does not speak the protocol, or is gone: the connection is closed."""


class CommandRejected(Exception):
    """One admin command that the device does not do: the driver gets this completion status."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class BadRequest(Exception):
    """A control line or an option that makes no sense: the text goes back to whoever wrote it."""


class DeviceSetupError(Exception):
    """The machine does not let us serve: a socket path too long, a process that is not there."""
