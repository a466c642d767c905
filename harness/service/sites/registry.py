"""Read the registry of sites, which is a URL, a file, or the ledger itself."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from harness.client.addresses import check_url, check_way
from harness.errors import RequestError
from harness.model.sites import Site
from harness.service.sites.site_list import MOST_BYTES, RegistryError, parse_sites
from harness.store.database import Database
from harness.store.site_table import SiteTable

LEDGER = "ledger"
"""What names the ledger as the registry."""

ReadRegistry = Callable[[], tuple[Site, ...]]
"""Reads the list of sites now. Raises HarnessError."""

_READ_WITHIN_S = 20.0
_ANSWERS_WITHIN_S = 10.0


def make_reader(source: str, database: Database, *, allow_plain_http: bool = False) -> ReadRegistry:
    """Make what reads a registry. Raises RequestError for a source that cannot be one."""
    if source == LEDGER:
        return lambda: tuple(line.site for line in SiteTable(database).list_lines())
    if source.startswith(("http://", "https://")):
        url = _check_registry_url(source, allow_plain_http=allow_plain_http)
        return lambda: parse_sites(_fetch(url), url)
    if "://" in source:
        raise RequestError(
            f"the registry {source.partition('://')[0]}://... is of no kind that is read",
            next_step="--registry takes a URL of https://, a file, or the word ledger",
        )
    path = Path(source).absolute()
    return lambda: parse_sites(_read_file(path), str(path))


def _check_registry_url(url: str, *, allow_plain_http: bool) -> str:
    """Check the URL of a registry. It decides where tokens of sites are sent to: nobody may change it on its way."""
    checked = check_url(url, what="registry")
    check_way(checked, allow_plain_http=allow_plain_http)
    return checked


def _fetch(url: str) -> bytes:
    give_up_at = time.monotonic() + _READ_WITHIN_S
    timeout = httpx2.Timeout(_ANSWERS_WITHIN_S)
    content = b""
    try:
        with httpx2.stream(
            "GET", url, timeout=timeout, headers={"Accept": "application/json"}, verify=ssl.create_default_context()
        ) as response:
            if response.status_code != httpx2.codes.OK:
                raise RegistryError(f"the registry {url} answers {response.status_code} {response.reason_phrase}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MOST_BYTES:
                    break  # parse_sites refuses it
                if time.monotonic() > give_up_at:
                    raise RegistryError(f"the registry {url} did not end its answer within {_READ_WITHIN_S:.0f} s")
    except httpx2.TimeoutException as error:
        raise RegistryError(f"the registry {url} did not answer within {_ANSWERS_WITHIN_S:.0f} s") from error
    except httpx2.HTTPError as error:
        raise RegistryError(f"the registry {url} cannot be read: {error or type(error).__name__}") from error
    return content


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RegistryError(f"the registry {path} cannot be read: {error.strerror}") from error
