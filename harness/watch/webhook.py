"""Tell a server of yours when an incident begins and ends, where no Alertmanager does: signed JSON by POST.

The form is that of Standard Webhooks (https://www.standardwebhooks.com), for which libraries exist: the headers
webhook-id, webhook-timestamp and webhook-signature, the last one an HMAC-SHA256 of `ID.TIMESTAMP.BODY`. Each moment is
told at least once, with an id that stays the same, by which a receiver drops what comes twice.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.client.failures import FailedTry
from harness.client.retries import RetryPolicy
from harness.errors import RequestError
from harness.store.database import Database
from harness.store.watch_told import IncidentTellings, Untold
from harness.untrusted.plain_text import bounded, printable
from harness.watch.http_posts import FindAddresses, Posting, check_host, find_addresses, make_label, read_url

ANSWERS_WITHIN_S = 15.0
SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_MOST_STREAMS = 200
_RETRIES = RetryPolicy(first_pause_s=2.0, longest_pause_s=600.0)
_WHAT = "webhook"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """The receiver of a webhook.

    `name`: for ever the same, for the ledger; `hosts_allowed`: hosts that need no public address.
    """

    name: str
    label: str
    url: str = field(repr=False)
    key: bytes = field(repr=False)
    hosts_allowed: Sequence[str] = ()


def make_target(url: str, secret: str, *, hosts_allowed: Sequence[str] = ()) -> WebhookTarget:
    """Make the target of a URL and a secret, `whsec_` and 24 to 64 bytes in base64. Raises RequestError."""
    parts = read_url(url, what=_WHAT, allow_query=True)
    check_host(parts, what=_WHAT, hosts_allowed=hosts_allowed)
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return WebhookTarget(
        name=f"webhook {name}", label=make_label(parts), url=url, key=read_secret(secret), hosts_allowed=hosts_allowed
    )


def read_secret(text: str) -> bytes:
    """Read the key in a secret. Raises RequestError, which does not show it."""
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SECRET_BYTES:
        raise RequestError(
            "the secret of the webhook is not one: 24 to 64 bytes in base64, after whsec_",
            next_step='make one: echo "whsec_$(openssl rand -base64 32)"',
        )
    return key


def sign(key: bytes, ident: str, timestamp: int, body: bytes) -> str:
    """Sign a message as Standard Webhooks says: `v1,` and the HMAC-SHA256 in base64."""
    content = f"{ident}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


class IncidentWebhook:
    """Tells a target of the incidents of a ledger."""

    def __init__(
        self,
        database: Database,
        target: WebhookTarget,
        *,
        answer_s: float = ANSWERS_WITHIN_S,
        find: FindAddresses = find_addresses,
    ) -> None:
        self._tellings, self._target, self._find = IncidentTellings(database), target, find
        # A proxy would look the host up by itself, and connect to whatever address that is.
        self._posting = Posting(target.url, answer_s=answer_s, uses_proxy=False)

    def close(self) -> None:
        """Close the connection."""
        self._posting.close()

    def step(self) -> int:
        """Tell what is to be told now; return how many moments were told. Raises what the database raises."""
        told = 0
        while due := [each for each in self._tellings.list_untold(self._target.name) if _is_due(each)]:
            results = [self._tell(untold) for untold in due]
            told += sum(results)
            if not any(results):  # the end of an incident comes after its beginning was told
                break
        return told

    def _tell(self, untold: Untold) -> bool:
        problem, after_s = self._send(untold)
        pause_s = 0.0
        if problem is not None:
            pause_s = max(_RETRIES.draw_pause_s(untold.telling.tries + 1), after_s)
            _log.warning("%s %s: %s is told again in %.0f s", self._target.label, problem, make_ident(untold), pause_s)
        self._tellings.record(untold, self._target.name, problem=problem, pause_s=pause_s)
        return problem is None

    def _send(self, untold: Untold) -> tuple[str | None, float]:
        """Send a message; return what went wrong, if it did, and how long the receiver asks to wait."""
        ident, timestamp, body = make_ident(untold), untold.now_ns // 1_000_000_000, write_message(untold)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": ident,
            "webhook-timestamp": f"{timestamp}",
            "webhook-signature": sign(self._target.key, ident, timestamp, body),
        }
        try:
            reply = self._posting.post_to_checked(
                body, headers, hosts_allowed=self._target.hosts_allowed, find=self._find
            )
        except FailedTry as error:
            return str(error), error.after_s
        return (None, 0.0) if reply.succeeded else (reply.describe(), reply.after_s or 0.0)


def make_ident(untold: Untold) -> str:
    """Name a moment of an incident, for ever the same."""
    return f"{untold.incident}-{untold.moment}"


def write_message(untold: Untold) -> bytes:
    """Write the message of a moment: JSON with times in UTC, and at most 200 names of streams beside their number."""
    document = {
        "type": f"watch.incident.{untold.moment}",
        "timestamp": _write_time(untold.at_ns),
        "data": {
            "incident": untold.incident,
            "kind": untold.kind,
            "cause": printable(untold.cause),
            "sentence": printable(untold.sentence),
            "recommendation": printable(untold.recommendation),
            "began": _write_time(untold.began_ns),
            "ended": None if untold.ended_ns is None else _write_time(untold.ended_ns),
            "streams": [printable(f"{stream}") for stream in untold.streams[:_MOST_STREAMS]],
            "stream_count": len(untold.streams),
        },
    }
    return json.dumps(bounded(document, characters=2000), separators=(",", ":")).encode()


def _is_due(untold: Untold) -> bool:
    """Whether a moment may be tried now; a time far ahead is of before the database's clock was set back."""
    wait_s = (untold.telling.next_ns - untold.now_ns) / 1e9
    return wait_s <= 0 or wait_s > 2 * _RETRIES.longest_pause_s


def _write_time(at_ns: int) -> str:
    return datetime.datetime.fromtimestamp(at_ns / 1e9, datetime.UTC).isoformat(timespec="milliseconds")
