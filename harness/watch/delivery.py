"""Decide from variables where a watch delivers to: a store of series, a webhook, an archive; and make the parts.

Each part is a duty of the process that leads: `do` is called again and again, may take a while, and returns what is to
be told.
"""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

from harness.client.addresses import ALLOW_PLAIN_HTTP, check_way
from harness.errors import RequestError
from harness.store.database import Database
from harness.store.object_store import ObjectStore
from harness.untrusted.input_checks import shorten_value
from harness.watch.archive import KEPT_DAYS, SampleArchive
from harness.watch.http_posts import make_label, read_url
from harness.watch.remote_write import IDLE_S, RemoteStore, RemoteWriter
from harness.watch.webhook import IncidentWebhook, WebhookTarget, make_target

REMOTE_WRITE, WEBHOOK = "PTP_HARNESS_WATCH_REMOTE_WRITE", "PTP_HARNESS_WATCH_WEBHOOK"
KEPT = "PTP_HARNESS_WATCH_KEPT_DAYS"
_MOST_KEPT_DAYS = 365
_MOST_SECRET_BYTES = 8192
_SENDS_FOR_S = 10.0
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]{0,4000}[\x21-\x7e])?)")
_OWN_HEADERS = ("host", "content-type", "content-encoding", "content-length", "x-prometheus-remote-write-version")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """Where a watch delivers to; None: not there. `kept_days`: of samples in the ledger."""

    remote_store: RemoteStore | None = None
    webhook: WebhookTarget | None = None
    kept_days: int = KEPT_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A part that delivers. `do`: called each `every_s` by the process that leads; returns sentences to be told.

    It raises what the ledger and the store raise, and is called again. `open`: what is to be closed at the end.
    """

    name: str
    every_s: float
    do: Callable[[], Sequence[str]]
    open: AbstractContextManager[object]


def read_delivery_options(environ: Mapping[str, str]) -> DeliveryOptions:
    """Read the variables, each of which may also name a file, by the same name with _FILE behind it.

    Raises RequestError, which shows no secret.
    """
    return DeliveryOptions(
        remote_store=_read_remote_store(environ),
        webhook=_read_webhook(environ),
        kept_days=_read_kept_days(environ),
    )


def make_deliveries(database: Database, options: DeliveryOptions, store: ObjectStore | None) -> list[Delivery]:
    """Make the parts. `store`: the evidence store; None: samples stay in the ledger."""
    made = []
    if options.remote_store is not None:
        writer = RemoteWriter(database, options.remote_store)
        made.append(
            Delivery(name="remote write", every_s=1.0, do=lambda: _send_for_a_while(writer), open=closing(writer))
        )
    if options.webhook is not None:
        webhook = IncidentWebhook(database, options.webhook)
        made.append(Delivery(name="webhook", every_s=2.0, do=lambda: _tell(webhook), open=closing(webhook)))
    if store is not None:
        archive = SampleArchive(database, store, kept_days=options.kept_days)
        made.append(Delivery(name="archive", every_s=600.0, do=archive.step, open=closing(_Nothing())))
    return made


class _Nothing:
    def close(self) -> None:
        """Close nothing."""


def _send_for_a_while(writer: RemoteWriter) -> list[str]:
    """Send while something waits, for some seconds: then whoever calls looks whether it still leads."""
    give_up_at = time.monotonic() + _SENDS_FOR_S
    while writer.step() < IDLE_S and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return []


def _tell(webhook: IncidentWebhook) -> list[str]:
    webhook.step()
    return []


def _read_remote_store(environ: Mapping[str, str]) -> RemoteStore | None:
    url = _read(environ, f"{REMOTE_WRITE}_URL")
    ways = {name: _read(environ, f"{REMOTE_WRITE}_{name}") for name in ("BEARER", "BASIC", "HEADER")}
    given = [name for name, value in ways.items() if value is not None]
    if url is None:
        if given:
            raise RequestError(f"{_name(given[0])} is set, and {_name('URL')} is not", next_step="set both, or none")
        return None
    parts = read_url(url, what="store of series", allow_query=True)
    headers = _make_headers(ways, given)
    if headers:
        check_way(url, allow_plain_http=environ.get(ALLOW_PLAIN_HTTP) == "1")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return RemoteStore(name=f"remote {name}", label=make_label(parts), url=url, headers=headers)


def _make_headers(ways: Mapping[str, str | None], given: Sequence[str]) -> dict[str, str]:
    headers = {}
    if "BEARER" in given and "BASIC" in given:
        raise RequestError(
            f"{_name('BEARER')} and {_name('BASIC')} are both set", next_step="unset one: a store takes one"
        )
    if (token := ways["BEARER"]) is not None:
        if re.fullmatch(r"[\x21-\x7e]+", token) is None:
            raise _refuse_secret("BEARER", "a token of one line")
        headers["Authorization"] = f"Bearer {token}"
    if (pair := ways["BASIC"]) is not None:
        if ":" not in pair or not pair.isprintable():
            raise _refuse_secret("BASIC", "USER:PASSWORD")
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if (line := ways["HEADER"]) is not None:
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in _OWN_HEADERS:
            raise _refuse_secret("HEADER", "a header such as X-Scope-OrgID: team")
        headers[match[1]] = match[2]
    return headers


def _refuse_secret(name: str, expected: str) -> RequestError:
    return RequestError(f"{_name(name)} does not hold {expected}", next_step="correct it; it is not shown here")


def _name(part: str) -> str:
    return f"{REMOTE_WRITE}_{part}"


def _read_webhook(environ: Mapping[str, str]) -> WebhookTarget | None:
    url, secret = _read(environ, f"{WEBHOOK}_URL"), _read(environ, f"{WEBHOOK}_SECRET")
    hosts = [host for host in re.split(r"[\s,]+", environ.get(f"{WEBHOOK}_HOSTS", "")) if host]
    if url is None and secret is None:
        return None
    if url is None or secret is None:
        missing = "URL" if url is None else "SECRET"
        raise RequestError(
            f"a webhook needs {WEBHOOK}_{missing}, too",
            next_step='a secret is made by: echo "whsec_$(openssl rand -base64 32)"',
        )
    return make_target(url, secret, hosts_allowed=hosts)


def _read_kept_days(environ: Mapping[str, str]) -> int:
    text = environ.get(KEPT, "").strip()
    if not text:
        return KEPT_DAYS
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_KEPT_DAYS:
        raise RequestError(
            f"{KEPT}={shorten_value(text)} is no number of days from 1 to {_MOST_KEPT_DAYS}",
            next_step=f"correct the variable {KEPT}, or unset it",
        )
    return int(text)


def _read(environ: Mapping[str, str], name: str) -> str | None:
    """Read a variable, or the file that NAME_FILE names; None where neither is set."""
    of_file = f"{name}_FILE"
    text, file = environ.get(name) or None, environ.get(of_file) or None
    if file is None:
        return text
    if text is not None:
        raise RequestError(f"{name} and {of_file} are both set", next_step="unset one of them")
    try:
        with Path(file).open("rb") as content:
            value = content.read(_MOST_SECRET_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RequestError(f"{of_file}: cannot read {file}: {reason}", next_step="correct the path") from error
    if not value:
        raise RequestError(f"{of_file}: {file} is empty", next_step="write the value into it, or unset the variable")
    return value
