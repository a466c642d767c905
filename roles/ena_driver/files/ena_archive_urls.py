#!/usr/bin/python3
"""May a driver archive be fetched from this URL? By https, without a password in it, and from public addresses alone.

A part of ena_archive.py: Python 3.9, standard library only.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.parse
import urllib.request
from typing import Any

SILENCE_S = 60.0  # a server that says nothing for so long is given up
MOST_URL_CHARACTERS = 2000
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Unusable(Exception):
    """What is wrong with the archive, and what to do."""


def check(url: str, *, here: bool) -> None:
    """Refuse a URL that is not https, or has a password in it, which would be written down. Raises Unusable."""
    if len(url) > MOST_URL_CHARACTERS:
        raise Unusable(f"the URL of the driver archive has more than {MOST_URL_CHARACTERS} characters")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Unusable(f"the URL of the driver archive cannot be understood: {error}") from error
    if "@" in parts.netloc:
        raise Unusable(
            "the URL of the driver archive has a user name or password in it, which would end in records and logs:"
            " download the archive by yourself and name the file"
        )
    if not url.isprintable() or " " in url:
        raise Unusable(f"the URL of the driver archive has characters in it that no URL has: {url!r}")
    if parts.scheme.lower() not in (("https", "http") if here else ("https",)):
        raise Unusable(f"{url} is not downloaded: a driver archive comes by https:// or is a file at hand")
    if not host:
        raise Unusable(f"{url} names no host to download the driver archive from")


def opener(*, here: bool) -> urllib.request.OpenerDirector:
    """What opens https URLs and nothing else, by the proxy that the environment names, if it names one."""
    made = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(here=here),
        Secure(here=here),
    ]
    handlers += [Plain(here=here)] if here else [urllib.request.ProxyHandler()]
    for handler in handlers:
        made.add_handler(handler)
    return made


class Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where a server sends us, as long as we would go there by ourselves."""

    def __init__(self, *, here: bool) -> None:
        self.here = here

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check(newurl, here=self.here)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Secure(urllib.request.HTTPSHandler):
    """https, over connections to public addresses."""

    def __init__(self, *, here: bool) -> None:
        super().__init__()
        self.here = here

    def https_open(self, req: Any) -> Any:
        def connection(host: str, **more: Any) -> http.client.HTTPSConnection:
            made = http.client.HTTPSConnection(host, **more)
            if not by_proxy:
                made._create_connection = guarded(self.here)
            return made

        # The connection is the proxy's then, and the proxy decides which addresses a name leads to.
        by_proxy = getattr(req, "_tunnel_host", None)
        if by_proxy and literal(by_proxy) and not public(by_proxy.strip("[]"), here=self.here):
            raise Unusable(not_public(by_proxy, by_proxy))
        return self.do_open(connection, req)


class Plain(urllib.request.HTTPHandler):
    """http, for tests with servers on this machine."""

    def __init__(self, *, here: bool) -> None:
        super().__init__()
        self.here = here

    def http_open(self, req: Any) -> Any:
        def connection(host: str, **more: Any) -> http.client.HTTPConnection:
            made = http.client.HTTPConnection(host, **more)
            made._create_connection = guarded(self.here)
            return made

        return self.do_open(connection, req)


def guarded(here: bool) -> Any:
    """Connect like socket.create_connection to public addresses only: the checked one is the one connected to."""

    def connect(address: tuple[str, int], timeout: Any = None, source_address: Any = None, **_: Any) -> socket.socket:
        host, port = address
        error: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _name, where in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            if not public(str(where[0]), here=here):
                raise Unusable(not_public(host, str(where[0])))
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(timeout if isinstance(timeout, (int, float)) else SILENCE_S)
                made.connect(where)
            except OSError as failed:
                made.close()
                error = failed
            else:
                return made
        raise error

    return connect


def not_public(host: str, address: str) -> str:
    return (
        f"the driver archive is not downloaded from {host}: its address {address} is not a public one;"
        " download the archive by yourself and name the file"
    )


def literal(host: str) -> bool:
    """Whether a URL's host is an address, not a name."""
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def public(text: str, *, here: bool) -> bool:
    """Whether an address belongs to the internet at large; `here` takes this machine's own for one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or within or address
    if here and address.is_loopback:
        return True
    return address.is_global and not address.is_multicast
