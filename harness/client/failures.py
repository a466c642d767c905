"""Tell failures of a connection that may pass from those that will not."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from harness.errors import SetupError


class UnavailableError(SetupError):
    """A service that could not be reached, or failed, until the deadline of a call."""


class FailedTry(Exception):
    """A try of a call that may be repeated: a phrase to follow the service's name, such as "refused the connection".

    `after_s`: how long the service asks to wait before that.
    """

    def __init__(self, phrase: str, *, after_s: float = 0.0) -> None:
        super().__init__(phrase)
        self.after_s = after_s


@contextmanager
def naming_failures(url: str) -> Iterator[None]:
    """Turn errors of the connection inside this block into FailedTry, and into SetupError where no try can succeed."""
    try:
        yield
    except httpx2.TransportError as error:
        causes = list(_causes(error))
        if untrusted := next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None):
            raise SetupError(
                f"the certificate of {url} is not trusted: {untrusted.verify_message}",
                next_step="SSL_CERT_FILE names a file with the certificate of its authority",
            ) from error
        unknown = next((cause for cause in causes if isinstance(cause, socket.gaierror)), None)
        if unknown is not None and unknown.errno != socket.EAI_AGAIN:
            raise SetupError(f"no address of {url} is known: {unknown.strerror}", next_step="check the URL") from error
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            raise SetupError(f"{url} cannot be asked: {error}", next_step="check the URL and the token") from error
        raise FailedTry(_describe(error, causes)) from error
    except httpx2.HTTPError as error:  # an answer that cannot be decoded
        raise SetupError(f"{url} answered with what cannot be read: {error}", next_step="check the URL") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _describe(error: httpx2.TransportError, causes: list[BaseException]) -> str:
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "refused the connection"
    if isinstance(error, httpx2.ConnectTimeout):
        return "cannot be reached: the connection was not made in time"
    if isinstance(error, httpx2.TimeoutException):
        return "did not answer in time"
    if isinstance(error, httpx2.ConnectError):
        return f"cannot be reached: {error}"
    return f"lost the connection: {error or type(error).__name__}"
