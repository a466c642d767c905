"""Send requests to a service: its certificate verified, answers bounded, and failed tries repeated.

A try is repeated after a status of 5xx, a time-out, and a connection that was refused or lost, until the deadline; a
request that was refused (4xx) is not. Requests that change something carry an Idempotency-Key, one for all tries of a
call: a service that got the first try and whose answer was lost does nothing a second time.
"""

import json
import logging
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import httpx2

from harness import __version__
from harness.client.addresses import check_token, check_url, check_way
from harness.client.failures import FailedTry, UnavailableError, naming_failures
from harness.client.refusals import RefusedError, describe_failure, read_refusal
from harness.client.retries import USUAL, RetryPolicy
from harness.errors import RequestError, SetupError
from harness.untrusted.input_checks import shorten_value

MOST_DOCUMENT_BYTES = 64 << 20
"""Largest document that is read into memory; a report of hundreds of hosts has a few megabytes."""

_CONNECTS_WITHIN_S = 10.0
_DOWNLOAD_BEGINS_WITHIN_S, _DOWNLOADS_WITHIN_S = 600.0, 3600.0
_MOST_PROBLEM_BYTES = 1 << 20
_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How a service is reached. `pause`: waits for so many seconds. `notify`: gets a sentence once a call is repeated.

    `allow_plain_http`: send the token without TLS to another machine, too: where the network is trusted, such as one
    of containers.
    """

    retries: RetryPolicy = USUAL
    pause: Callable[[float], object] = time.sleep
    notify: Callable[[str], None] = _log.info
    allow_plain_http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a request that was carried out."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class ServiceConnection:
    """A connection to a service at `url`. Threads may share it; close it, or use it in a `with` block."""

    def __init__(self, url: str, token: str | None, options: ConnectionOptions) -> None:
        self.url, self.options = check_url(url), options
        headers = {"User-Agent": f"ptp-harness/{__version__}", "Accept": "application/json"}
        if token is not None:
            check_way(self.url, allow_plain_http=options.allow_plain_http)
            headers["Authorization"] = f"Bearer {check_token(token)}"
        self._http = httpx2.Client(headers=headers, verify=ssl.create_default_context())

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Get a document."""
        return self._parse(path, self.get_answer(path, parameters).body)

    def get_answer(self, path: str, parameters: Mapping[str, Any] | None = None) -> "Answer":
        """Get what a path has, such as a report."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._send("GET", path, self.options.retries, params=given)

    def post(
        self, path: str, body: Any = None, *, idempotency_key: str | None = None, retries: RetryPolicy | None = None
    ) -> Any:
        """Send a request that changes something; return the document that answers it."""
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(24)}
        answer = self._send("POST", path, retries or self.options.retries, json=body, headers=headers)
        return self._parse(path, answer.body)

    def download(self, path: str, file: IO[bytes], *, most_bytes: int) -> None:
        """Write what a path has to the end of a file, in one try: it may be large. Raises UnavailableError."""
        give_up_at = time.monotonic() + _DOWNLOADS_WITHIN_S
        try:
            with self.open("GET", path, answer_s=_DOWNLOAD_BEGINS_WITHIN_S) as response:
                for chunk in self._read_chunks(response, path, most_bytes, give_up_at):
                    file.write(chunk)
        except FailedTry as error:
            raise UnavailableError(
                f"{self.url}{path} was not downloaded: the service {error}", next_step="try it again"
            ) from error

    @contextmanager
    def open(
        self, method: str, path: str, *, answer_s: float | None = None, **request: Any
    ) -> Iterator[httpx2.Response]:
        """Send a request in one try; yield its answer, whose body is not read yet, if it is a success.

        `answer_s`: how long the service may be silent. Raises FailedTry for what may be repeated, RequestError and
        SetupError for the rest.
        """
        answer_s = self.options.retries.answer_s if answer_s is None else answer_s
        timeout = httpx2.Timeout(answer_s, connect=min(answer_s, _CONNECTS_WITHIN_S))
        with (
            naming_failures(self.url),
            self._http.stream(method, self.url + path, timeout=timeout, **request) as response,
        ):
            _log.debug("%s %s%s: %s", method, self.url, path, response.status_code)
            self._check(response, path)
            yield response

    def _send(self, method: str, path: str, retries: RetryPolicy, **request: Any) -> "Answer":
        def attempt(give_up_at: float) -> Answer:
            answer_s = max(0.1, min(retries.answer_s, give_up_at - time.monotonic()))
            with self.open(method, path, answer_s=answer_s, **request) as response:
                body = b"".join(self._read_chunks(response, path, MOST_DOCUMENT_BYTES, give_up_at))
                return Answer(body=body, headers=response.headers)

        return self._repeat(attempt, retries)

    def _repeat(self, attempt: Callable[[float], T], retries: RetryPolicy) -> T:
        """Call `attempt` with the moment of giving up, until it succeeds or that moment has come."""
        failures, give_up_at = 0, time.monotonic() + retries.deadline_s
        while True:
            try:
                return attempt(give_up_at)
            except RefusedError as error:
                error.repeated = failures > 0
                raise
            except FailedTry as error:
                failures += 1
                left_s = give_up_at - time.monotonic()
                pause_s = retries.draw_next_pause_s(failures, left_s, least_s=error.after_s)
                if pause_s is None:
                    raise self.give_up(error) from error
                if failures == 1:
                    self.options.notify(f"the service {self.url} {error}; it is asked again for {left_s:.0f} s")
                self.options.pause(pause_s)

    def give_up(self, error: FailedTry) -> UnavailableError:
        """Make the error of a call that was tried until its deadline."""
        return UnavailableError(
            f"the service {self.url} {error}",
            next_step="is it running, and is this its URL? What it was asked for may have happened all the same",
        )

    def _check(self, response: httpx2.Response, path: str) -> None:
        """Raise an error for an answer that is no success."""
        status = response.status_code
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise RequestError(
                f"{self.url} redirects to {shorten_value(response.headers.get('location', ''))}",
                next_step="name that address as the URL of the service: a token is not sent on to another one",
            )
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_PROBLEM_BYTES:
                break
        if status >= 500:
            after = response.headers.get("retry-after", "")
            raise FailedTry(
                f"answers {describe_failure(status, body)}", after_s=float(after) if after.isdecimal() else 0.0
            )
        raise read_refusal(status, body, f"{self.url}{path}")

    def _read_chunks(self, response: httpx2.Response, path: str, most_bytes: int, give_up_at: float) -> Iterator[bytes]:
        """Read a body. Raises SetupError above `most_bytes`, and FailedTry once the time is over."""
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > most_bytes:
                raise SetupError(
                    f"{self.url}{path} answered with more than {most_bytes} bytes",
                    next_step="check the URL of the service",
                )
            yield chunk
            if time.monotonic() > give_up_at:
                raise FailedTry("did not end its answer in time")

    def _parse(self, path: str, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise SetupError(
                f"{self.url}{path} answered with something that is no JSON",
                next_step="check the URL of the service: such as https://ptp.example.org, without a path",
            ) from error
