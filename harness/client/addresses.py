"""Check the URL of a service, and the token that is sent to it."""

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value, why_unfit

ALLOW_PLAIN_HTTP = "PTP_HARNESS_ALLOW_PLAIN_HTTP"
"""The variable that allows to send a token without TLS, if it is 1."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")
_EXAMPLE = "such as https://ptp.example.org or http://127.0.0.1:8440"


def check_url(url: str, *, what: str = "service") -> str:
    """Return the URL of a service, or of `what`, without a slash at its end. Raises RequestError."""
    shown = shorten_value(url)
    if why := why_unfit(url):
        raise RequestError(f"the URL of the {what} is not one: it {why}", next_step=_EXAMPLE)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise RequestError(f"the URL {shown} of the {what} is not one: {error}", next_step=_EXAMPLE) from error
    if parts.scheme not in ("http", "https") or not host:
        raise RequestError(f"the URL {shown} of the {what} is not one of http:// or https://", next_step=_EXAMPLE)
    if parts.username is not None or parts.query or parts.fragment:
        raise RequestError(
            f"the URL of the {what} has a user, a query or a fragment",
            next_step=f"a token comes by --token-file or PTP_HARNESS_TOKEN; the URL is {_EXAMPLE}",
        )
    return url.rstrip("/")


def check_way(url: str, *, allow_plain_http: bool) -> None:
    """Refuse to send a token over a network where anybody could read it: HTTP without TLS to another machine.

    Raises RequestError.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or allow_plain_http or _is_loopback(parts.hostname or ""):
        return
    raise RequestError(
        f"the token is not sent to {parts.hostname} over http://: whoever is on the way could read it",
        next_step=f"name the service by https://, or by a tunnel of ssh; {ALLOW_PLAIN_HTTP}=1 allows it on a network "
        "that you trust",
    )


def check_token(token: str) -> str:
    """Return a token that can be sent. Raises RequestError, which does not show it."""
    if _TOKEN.fullmatch(token) is None:
        raise RequestError(
            "the token is none: it is empty, too long, or has white space or other characters in it",
            next_step="a token is one line that `ptp-harness token create` printed",
        )
    return token


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
