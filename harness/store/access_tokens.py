"""Keep the access tokens of the service: names, scopes and digests. A secret is shown once and kept nowhere."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from harness.errors import ConflictError, RequestError, UnknownNameError
from harness.model.tasks import Scope
from harness.store.database import Database, now_ns
from harness.store.owners import name_user, read_now
from harness.store.tables import TOKENS
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

PREFIX = "ptph_"
"""Begins each secret, so that scanners of repositories find one that was committed."""

NAME = r"[a-z0-9][a-z0-9._@-]{0,62}"
SHORTEST_S, LONGEST_S = 60.0, 10 * 366 * 86400.0
"""A token is valid for so long, unless it is valid until it is revoked."""

_SECRET_BYTES = 32
_USED_STEP_NS = 60 * 10**9


class UnknownTokenError(UnknownNameError):
    """A name that no token has."""


class TakenNameError(ConflictError):
    """A name that another token has or had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLine:
    """A token in the list of tokens. Times are ns since the epoch; `expires_ns` None: it does not expire."""

    token: str
    name: str
    scope: Scope
    created_ns: int
    created_by: str
    expires_ns: int | None
    revoked_ns: int | None
    last_used_ns: int | None
    read_ns: int

    @property
    def state(self) -> Literal["valid", "expired", "revoked"]:
        """Whether it is `valid`, `expired` or `revoked`."""
        if self.revoked_ns is not None:
            return "revoked"
        return "expired" if self.expires_ns is not None and self.expires_ns <= self.read_ns else "valid"


class AccessTokens:
    """The access tokens of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, scope: Scope, *, expires_s: float | None = None, by: str | None = None
    ) -> tuple[TokenLine, str]:
        """Create a token; return its line and its secret, which nobody can read again. Raises RequestError.

        `by`: who creates it; None: the person or account of this process.
        """
        check_name(name)
        check_expiry(expires_s)
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        token = secrets.token_hex(4)

        def create(db: sql.Connection) -> TokenLine:
            there = db.execute(_LINES.where(TOKENS.c.token == token)).first()  # the answer to a commit was lost
            if there is None:
                now = read_now(db)
                expires_ns = None if expires_s is None else now + round(expires_s * 1e9)
                row = {"token": token, "name": name, "digest": digest_secret(secret), "scope": scope}
                times = {"created_ns": now, "expires_ns": expires_ns}
                db.execute(TOKENS.insert().values(**row, **times, created_by=by or name_user()))
                there = db.execute(_LINES.where(TOKENS.c.token == token)).one()
            return _line(there)

        try:
            return self._database.write(create), secret
        except IntegrityError as error:
            raise TakenNameError(
                f"there is a token {name!r} already",
                next_step=f"take another name, or `ptp-harness token revoke {name}` and then another name",
            ) from error

    def list_lines(self) -> list[TokenLine]:
        """List all tokens, also those that expired or were revoked, in the order of their creation."""
        query = _LINES.order_by(TOKENS.c.created_ns, TOKENS.c.name)
        return [_line(row) for row in self._database.read(lambda db: db.execute(query).all())]

    def revoke(self, name: str) -> TokenLine:
        """Revoke a token by its name; one that was revoked before stays as it is. Raises RequestError."""
        here = TOKENS.c.name == name

        def revoke(db: sql.Connection) -> TokenLine | None:
            db.execute(TOKENS.update().where(here, TOKENS.c.revoked_ns.is_(None)).values(revoked_ns=now_ns()))
            row = db.execute(_LINES.where(here)).first()
            return None if row is None else _line(row)

        line = self._database.write(revoke) if names.fits(NAME, name) else None
        if line is None:
            raise UnknownTokenError(
                f"there is no token {shorten_value(name)}", next_step="`ptp-harness token list` shows the tokens"
            )
        return line

    def find(self, secret: str) -> TokenLine | None:
        """Find the token of a secret, valid or not; None for an unknown secret."""
        query = _LINES.where(TOKENS.c.digest == digest_secret(secret))
        row = self._database.read(lambda db: db.execute(query).first())
        return None if row is None else _line(row)

    def find_named(self, name: str) -> TokenLine | None:
        """Find a token by its name, valid or not; None for an unknown name."""
        query = _LINES.where(TOKENS.c.name == name)
        row = self._database.read(lambda db: db.execute(query).first()) if names.fits(NAME, name) else None
        return None if row is None else _line(row)

    def find_listed(self, token: str) -> TokenLine | None:
        """Find a token by its public name, valid or not; None for an unknown one."""
        query = _LINES.where(TOKENS.c.token == token)
        row = self._database.read(lambda db: db.execute(query).first())
        return None if row is None else _line(row)

    def note_use(self, line: TokenLine) -> None:
        """Note that a token was used, at most once a minute."""
        if line.last_used_ns is None or line.read_ns - line.last_used_ns >= _USED_STEP_NS:
            here = TOKENS.c.token == line.token
            self._database.write(lambda db: db.execute(TOKENS.update().where(here).values(last_used_ns=now_ns())))


def digest_secret(secret: str) -> str:
    """Compute the digest by which a secret is found. A secret has 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def check_name(name: str) -> None:
    """Raise RequestError for a text that is no name of a token."""
    if not names.fits(NAME, name):
        raise RequestError(
            f"{shorten_value(name)} is no name of a token",
            next_step="small letters, digits, and . _ @ - behind the first, at most 63: ada, ci-main",
        )


def check_expiry(expires_s: float | None) -> None:
    """Raise RequestError where a token would be valid for too short or too long; None: until it is revoked."""
    if expires_s is not None and not SHORTEST_S <= expires_s <= LONGEST_S:
        raise RequestError("a token is valid from 1 minute to 10 years", next_step="such as 8h or 90d")


_COLUMNS = tuple(column for column in TOKENS.c if column.name != "digest")
_LINES = sql.select(*_COLUMNS, now_ns().label("read_ns"))


def _line(row: Any) -> TokenLine:
    return TokenLine(**{**row._mapping, "scope": Scope(row.scope)})
