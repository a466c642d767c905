"""Keep who is logged in to the pages in a signed cookie, and let forms prove that they come from a page of ours.

A session is a value that the service signs with a key in its state directory (or with PTP_HARNESS_SIGNING_KEY, where
several machines serve one ledger): each process can check it, and a deploy logs nobody out. The value names a token by
its public name and never holds the secret; whether the token is still valid, and what its scope is, is looked up with
each request, so that `ptp-harness token revoke` ends all its sessions. A key in the ledger would let everybody who
reads the ledger, or a backup of it, make sessions.
"""

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

from harness.system.key_files import make_key, read_key
from harness.system.settings import Settings

LASTS_S = 7 * 86_400
_MOST_ENDED = 10_000
_VERSION = "1"
_NONCE_BYTES, _MASK_BYTES = 16, 16
_NEXT = "remove the file: a new key is made, and everybody logs in again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session: the public name of a token, when the session ends (s since the epoch), and a value drawn for it."""

    token: str
    ends_s: int
    nonce: str


class Sessions:
    """Signs and checks sessions and the tokens of forms. Threads share an instance."""

    def __init__(self, key: bytes) -> None:
        self._session_key, self._form_key = _derive(key, "session"), _derive(key, "form")
        self._suffix = hashlib.sha256(_derive(key, "name")).hexdigest()[:6]
        self._lock = threading.Lock()
        self._ended: OrderedDict[str, int] = OrderedDict()

    def cookie_name(self, *, secure: bool, kind: str = "session") -> str:
        """Name a cookie. Services on other ports of a host get the same cookies, and have other keys: they are named
        apart. A name with __Host- is refused by browsers unless the cookie is of HTTPS and of this host alone.
        """
        return f"{'__Host-' if secure else ''}ptp-{kind}-{self._suffix}"

    def begin(self, token: str, *, now_s: float | None = None) -> str:
        """Begin a session of the bearer of a token; return the value of its cookie."""
        begun_s = time.time() if now_s is None else now_s
        text = ".".join((_VERSION, token, str(int(begun_s) + LASTS_S), secrets.token_hex(_NONCE_BYTES)))
        return f"{text}.{self._sign(text)}"

    def read(self, value: str, *, now_s: float | None = None) -> Session | None:
        """Read the value of a cookie; None for one that we did not sign, that has ended, or was logged out here."""
        text, _, signature = value.rpartition(".")
        parts = text.split(".")
        if len(parts) != 4 or not hmac.compare_digest(signature.encode(), self._sign(text).encode()):
            return None
        version, token, ends, nonce = parts
        if version != _VERSION or int(ends) <= (time.time() if now_s is None else now_s):
            return None
        with self._lock:
            if nonce in self._ended:
                return None
        return Session(token=token, ends_s=int(ends), nonce=nonce)

    def end(self, session: Session) -> None:
        """End a session: this process refuses its cookie from now on, even if somebody kept a copy."""
        with self._lock:
            self._ended[session.nonce] = session.ends_s
            while len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)

    def make_form_token(self, binding: str) -> str:
        """Make the token of a form for whoever has this binding. It differs each time.

        Pages are compressed: a part that is always the same could be guessed by the length of what is sent.
        """
        mask = secrets.token_bytes(_MASK_BYTES)
        return _encode(mask + _xor(mask, self._bind(binding)))

    def is_form_token(self, binding: str, token: str) -> bool:
        """Whether a token is one of a form for whoever has this binding."""
        decoded = b""
        with suppress(ValueError):
            decoded = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        if len(decoded) != 2 * _MASK_BYTES:
            return False
        return hmac.compare_digest(_xor(decoded[:_MASK_BYTES], decoded[_MASK_BYTES:]), self._bind(binding))

    def _sign(self, text: str) -> str:
        return hmac.new(self._session_key, text.encode(errors="replace"), hashlib.sha256).hexdigest()

    def _bind(self, binding: str) -> bytes:
        return hmac.new(self._form_key, binding.encode(errors="replace"), hashlib.sha256).digest()[:_MASK_BYTES]


def load_sessions(settings: Settings) -> Sessions:
    """Load the key of sessions, or make one. Raises SetupError when that cannot be."""
    path = settings.signing_key
    if path is None:
        path = settings.state_dir / "service" / "session-key"
        make_key(path, title="session key")
    return Sessions(read_key(path, title="session key", next_step=_NEXT))


def _derive(key: bytes, purpose: str) -> bytes:
    return hmac.new(key, f"ptp-harness page {purpose}".encode(), hashlib.sha256).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
