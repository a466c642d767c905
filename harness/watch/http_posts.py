"""Send requests to servers of others: within a deadline, with a bounded answer, and where wished to checked addresses.

No redirect is followed: what is sent is for the server that was named. Every failure is a FailedTry with a phrase to
follow the server's name, so that whoever sends decides when to try again.
"""

import email.utils
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx2

from harness import __version__
from harness.client.failures import FailedTry, naming_failures
from harness.errors import RequestError, SetupError
from harness.untrusted.addresses import is_public_address, may_be_public, parse_address
from harness.untrusted.input_checks import why_unfit
from harness.untrusted.plain_text import one_line

MOST_AFTER_S = 300.0
"""The longest pause that a server may ask for by Retry-After."""

_MOST_ANSWER_BYTES = 2000
_CONNECTS_WITHIN_S = 10.0
_SPARE_S = 0.5  # for the time-outs of the connection to come first
_METADATA = ipaddress.ip_address("fd00:ec2::254")

FindAddresses = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a server. `words`: the beginning of its body, as one line; `after_s`: by its Retry-After."""

    status: int
    words: str
    after_s: float | None

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may succeed later: the server failed, or has too much to do."""
        return self.status >= 500 or self.status == 429

    def describe(self) -> str:
        """Describe an answer that is no success, as a phrase to follow the server's name."""
        if 300 <= self.status < 400:
            return f"answers {self.status}, a redirect, and none is followed"
        return f"answers {self.status}{': ' + self.words if self.words else ''}"


def read_url(url: str, *, what: str, allow_query: bool = False) -> SplitResult:
    """Take the URL of a server apart. Raises RequestError, whose message shows no part that may be a secret."""
    remedy = "write it as https://HOST/PATH"
    if why := why_unfit(url) or ("has white space in it" if url.split() != [url] else ""):
        raise RequestError(f"the URL of the {what} cannot be used: it {why}", next_step=remedy)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise RequestError(f"the URL of the {what} cannot be understood", next_step=remedy) from error
    if parts.scheme not in ("http", "https") or not host:
        raise RequestError(f"the URL of the {what} has no https:// and host", next_step=remedy)
    if parts.username is not None or parts.fragment or (parts.query and not allow_query):
        raise RequestError(f"the URL of the {what} has a user, a query or a fragment in it", next_step=remedy)
    return parts


def make_label(parts: SplitResult) -> str:
    """Name a server for messages and the ledger: without the path and query of its URL, which may hold a secret."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def check_host(parts: SplitResult, *, what: str, hosts_allowed: Collection[str]) -> None:
    """Refuse a URL that leads into a network of one's own, unless its host is allowed. Raises RequestError.

    What a name leads to is not looked up here: `post` connects to the address that it checked itself.
    """
    host = parts.hostname or ""
    if host not in hosts_allowed and not may_be_public(host):
        raise RequestError(
            f"the {what} at {make_label(parts)} has no public address",
            next_step=f"allow its host by name, if it is the right one: {host}",
        )
    address = parse_address(host)
    if parts.scheme != "https" and not (address is not None and address.is_loopback):
        raise RequestError(
            f"the {what} at {make_label(parts)} is no https:// address, and is not on this machine",
            next_step="whoever is on the way could read or change what is sent: use https://",
        )


def may_connect(text: str, host: str, hosts_allowed: Collection[str]) -> bool:
    """Whether to connect to an address of a host.

    A host that is allowed may have a private address, but none of this machine or link, where the metadata of clouds
    is, unless the address itself is allowed.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if is_public_address(address) or text in hosts_allowed:
        return True
    there = getattr(address, "ipv4_mapped", None) or address
    near = there.is_loopback or there.is_link_local or there.is_unspecified or there.is_multicast
    return host in hosts_allowed and not near and there != _METADATA


def find_addresses(host: str, port: int) -> list[str]:
    """Look up the addresses of a host. Raises FailedTry."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FailedTry(f"has no address: {error.strerror or error}") from error
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Posting:
    """Sends requests to one URL by POST. `answer_s`: the deadline of each, from its beginning; close it at the end."""

    def __init__(self, url: str, *, answer_s: float, uses_proxy: bool = True) -> None:
        self._url, self._label, self._answer_s = url, make_label(urlsplit(url)), answer_s
        self._uses_proxy = uses_proxy
        self._http = self._make_client()

    def _make_client(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self._answer_s, connect=min(self._answer_s, _CONNECTS_WITHIN_S))
        return httpx2.Client(
            headers={"User-Agent": f"ptp-harness/{__version__}", "Accept-Encoding": "identity"},
            verify=ssl.create_default_context(),
            timeout=timeout,
            follow_redirects=False,
            trust_env=self._uses_proxy,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def post(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a request. Raises FailedTry where no answer came."""
        return self._send(self._url, content, headers, {})

    def post_to_checked(
        self,
        content: bytes,
        headers: Mapping[str, str],
        *,
        hosts_allowed: Collection[str],
        find: FindAddresses = find_addresses,
    ) -> Reply:
        """Send a request to an address of the URL's host that `may_connect` accepts: to the very one that it checked.

        Raises FailedTry where there is none, and where no answer came.
        """
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        addresses = find(host, port)
        if refused := [address for address in addresses if not may_connect(address, host, hosts_allowed)]:
            raise FailedTry(f"has the address {refused[0]}, which is not a public one, and is not allowed")
        if not addresses:
            raise FailedTry("has no address")
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        url = parts._replace(netloc=f"{address}:{port}").geturl()
        return self._send(url, content, {**headers, "Host": parts.netloc}, {"sni_hostname": host})

    def _send(self, url: str, content: bytes, headers: Mapping[str, str], extensions: dict[str, str]) -> Reply:
        """Send in a thread: a server that sends a byte now and then keeps within each time-out of the connection."""
        client, outcome = self._http, list[Reply | Exception]()

        def attempt() -> None:
            try:
                outcome.append(self._exchange(client, url, content, headers, extensions))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=attempt, name="post", daemon=True)
        thread.start()
        thread.join(self._answer_s + _SPARE_S)
        if not outcome:
            self._http = self._make_client()
            client.close()
            raise FailedTry("did not end its answer in time")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _exchange(
        self, client: httpx2.Client, url: str, content: bytes, headers: Mapping[str, str], extensions: dict[str, str]
    ) -> Reply:
        try:
            with (
                naming_failures(self._label),
                client.stream("POST", url, content=content, headers=headers, extensions=extensions) as answer,
            ):
                body = b""
                for chunk in answer.iter_raw():
                    body += chunk[:_MOST_ANSWER_BYTES]
                    if len(body) >= _MOST_ANSWER_BYTES:
                        break
                return Reply(
                    status=answer.status_code,
                    words=one_line(body[:_MOST_ANSWER_BYTES].decode(errors="replace"), 300),
                    after_s=parse_retry_after(answer.headers.get("retry-after"), time.time()),
                )
        except SetupError as error:
            raise FailedTry(f"cannot be used: {error.message}") from error


def parse_retry_after(text: str | None, now_s: float) -> float | None:
    """Parse a Retry-After: seconds, or a date (RFC 9110, 10.2.3); at most MOST_AFTER_S, None for what is neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), MOST_AFTER_S)
    try:
        at_s = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, at_s - now_s), MOST_AFTER_S)
