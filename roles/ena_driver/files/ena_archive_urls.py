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
from collections.abc import Sequence
from typing import Any

SILENCE_S = 60.0  # a server that sends nothing for this long is given up
MOST_URL_CHARACTERS = 2000
METADATA = ("fd00:ec2::254",)  # of EC2, beside the link-local one
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Unusable(Exception):
    """The archive cannot be used; the message says why, and what to do."""


def check_url(url: str, *, allow_local: bool, hosts: Sequence[str] = ()) -> None:
    """Refuse a URL that is not https, or contains a password, which logs would keep. Raises Unusable.

    `hosts`: those that archives may come from; empty: every one with a public address.
    """
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
    if parts.scheme.lower() not in (("https", "http") if allow_local else ("https",)):
        raise Unusable(f"{url} is not downloaded: a driver archive comes by https:// or is a file at hand")
    if not host:
        raise Unusable(f"{url} names no host to download the driver archive from")
    if hosts and host not in hosts:
        raise Unusable(f"{url} is not downloaded: driver archives come from {', '.join(hosts)} alone")


def build_opener(*, allow_local: bool, hosts: Sequence[str] = ()) -> urllib.request.OpenerDirector:
    """Build an opener of https URLs only, through the proxy of the environment, if it names one.

    `hosts`: as `check_url` takes them; they may have private addresses.
    """
    director = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(allow_local=allow_local, hosts=hosts),
        Secure(allow_local=allow_local, hosts=hosts),
    ]
    handlers += [Plain(allow_local=allow_local)] if allow_local else [urllib.request.ProxyHandler()]
    for handler in handlers:
        director.add_handler(handler)
    return director


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirect to a URL that `check_url` accepts."""

    def __init__(self, *, allow_local: bool, hosts: Sequence[str] = ()) -> None:
        self.allow_local, self.hosts = allow_local, hosts

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl, allow_local=self.allow_local, hosts=self.hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Secure(urllib.request.HTTPSHandler):
    """https, over connections to public addresses, or to hosts that are named."""

    def __init__(self, *, allow_local: bool, hosts: Sequence[str] = ()) -> None:
        super().__init__()
        self.allow_local, self.hosts = allow_local, hosts

    def https_open(self, req: Any) -> Any:
        def connection(host: str, **options: Any) -> http.client.HTTPSConnection:
            client = http.client.HTTPSConnection(host, **options)
            if not proxied:
                client._create_connection = connector_to_public(self.allow_local, self.hosts)
            return client

        # Through a proxy the connection goes to the proxy, which resolves the name by itself.
        proxied = getattr(req, "_tunnel_host", None)
        if proxied and is_address(proxied) and not is_public(proxied.strip("[]"), allow_local=self.allow_local):
            raise Unusable(describe_not_public(proxied, proxied))
        return self.do_open(connection, req)


class Plain(urllib.request.HTTPHandler):
    """http, for tests with servers on this machine."""

    def __init__(self, *, allow_local: bool) -> None:
        super().__init__()
        self.allow_local = allow_local

    def http_open(self, req: Any) -> Any:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            client = http.client.HTTPConnection(host, **options)
            client._create_connection = connector_to_public(self.allow_local)
            return client

        return self.do_open(connection, req)


def connector_to_public(allow_local: bool, hosts: Sequence[str] = ()) -> Any:
    """Return a socket.create_connection for public addresses only; it connects to the very address that it checked.

    `hosts`: those that may have private addresses, too.
    """

    def connect(address: tuple[str, int], timeout: Any = None, source_address: Any = None, **_: Any) -> socket.socket:
        host, port = address
        error: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _name, socket_address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            if not may_connect(str(socket_address[0]), host, hosts, allow_local=allow_local):
                raise Unusable(describe_not_public(host, str(socket_address[0])))
            candidate = socket.socket(family, kind, protocol)
            try:
                candidate.settimeout(timeout if isinstance(timeout, (int, float)) else SILENCE_S)
                candidate.connect(socket_address)
            except OSError as failed:
                candidate.close()
                error = failed
            else:
                return candidate
        raise error

    return connect


def may_connect(address: str, host: str, hosts: Sequence[str], *, allow_local: bool) -> bool:
    """Tell whether to connect to an address of a host. One that is named may have a private address, but none of this
    machine or link, where the metadata of clouds is, unless the address itself is named."""
    if is_public(address, allow_local=allow_local) or address in hosts:
        return True
    there: Any = ipaddress.ip_address(address.partition("%")[0])
    there = getattr(there, "ipv4_mapped", None) or there
    near = there.is_loopback or there.is_link_local or there.is_unspecified or there.is_multicast
    return host.lower() in hosts and not near and str(there) not in METADATA


def describe_not_public(host: str, address: str) -> str:
    return (
        f"the driver archive is not downloaded from {host}: its address {address} is not a public one;"
        " download the archive by yourself and name the file"
    )


def is_address(host: str) -> bool:
    """Tell whether a URL's host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def is_public(text: str, *, allow_local: bool) -> bool:
    """Tell whether an address is public; with `allow_local`, loopback addresses count as public."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded_ipv4 = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or embedded_ipv4 or address
    if allow_local and address.is_loopback:
        return True
    return address.is_global and not address.is_multicast
