"""Decide whether a resource may be ended: it must be proven to be ours, and its run must not need it any more.

A tag proves nothing: anyone with the right to tag can write any tag onto any machine. A cloud resource is proven to be
ours by data that only its creator could choose and that nobody can change afterwards:

- the name that it was made with (of an instance: the name of its key pair), signed for its token and its lease;
- a signature of its id and of all its tags of ours, for images and snapshots, which is written once the id is known;
- a record of this state directory that names its id.

Two risks remain. A person who may launch instances or make images in the same account can make a resource with one of
our names, once that name is free again, and copy our tags to it; such a resource is ended. A person who may change the
tags of our own resources can hide them from us; a host still ends itself with its lease.
"""

import datetime
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from harness import units
from harness.model import Resource, Token

TAGS = "ptp-harness:"
"""Prefix of all tags of this harness."""

TOKEN, EXPIRES, SIGNATURE = f"{TAGS}token", f"{TAGS}expires", f"{TAGS}signature"
RUN, HOST, OWNER = f"{TAGS}run", f"{TAGS}host", f"{TAGS}owner"
_DIGITS = 24


class Signer:
    """Signs created resources with the secret key of a state directory or a team. Without a key nothing is proven."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key or None

    def __repr__(self) -> str:
        return f"Signer({'[secret]' if self._key else 'no key'})"

    def sign_name(self, title: str, *, token: str, expires: str) -> str:
        """Append a signature to a title, to name a resource with that token and that lease."""
        return f"{title}-{self._sign('name', title, token, expires)}"

    def sign_tags(self, kind: str, ident: str, tags: Mapping[str, str]) -> str:
        """Sign all our tags of a resource: the value of its tag SIGNATURE."""
        return self._sign("tags", kind, ident, *(text for pair in sorted(_own_tags(tags).items()) for text in pair))

    def verify_name(self, name: str, *, token: str, expires: str) -> bool:
        """Whether a name was signed by us for this token and this lease."""
        title, _, _ = name.rpartition("-")
        return self._key is not None and _equal_digests(name, self.sign_name(title, token=token, expires=expires))

    def verify_tags(self, kind: str, ident: str, tags: Mapping[str, str]) -> bool:
        """Whether these are the tags that we signed for this id."""
        return self._key is not None and _equal_digests(tags.get(SIGNATURE, ""), self.sign_tags(kind, ident, tags))

    def _sign(self, *texts: str) -> str:
        if self._key is None:
            raise ValueError("nothing can be signed without a key")
        message = b"".join(len(text).to_bytes(4) + text for text in map(_encode, texts))
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_DIGITS]


KEYLESS_SIGNER = Signer(None)
"""A signer without a key, which proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedResource:
    """A resource as a cloud describes it. `given_name`: the name set at creation, where it cannot be changed."""

    kind: str
    ident: str
    tags: Mapping[str, str]
    given_name: str | None


def why_not_ours(
    tagged: DescribedResource, signer: Signer, recorded: Mapping[str, Collection[str]] = MappingProxyType({})
) -> str | None:
    """Describe why a resource is not proven ours; None where it is. `recorded`: ids and names we recorded, by token."""
    token, expires = tagged.tags.get(TOKEN), tagged.tags.get(EXPIRES)
    if signer.verify_tags(tagged.kind, tagged.ident, tagged.tags):
        return None
    if token is None or not _is_token(token):
        return "its tag is no token of a host"
    if expires is None:
        return "it has no lease"
    if units.parse_utc(expires) is None:
        return "the end of its lease cannot be read"
    if {tagged.ident, tagged.given_name} & {*recorded.get(token, ())}:
        return None
    if tagged.given_name and signer.verify_name(tagged.given_name, token=token, expires=expires):
        return None
    return "nothing but tags says that it is ours"


class RunState(StrEnum):
    """State of the run, or of the process, that a resource's token names."""

    RELEASED = "its owner ends it"
    ALIVE = "its run is under way"
    KEPT = "it was kept on purpose"
    BY_HAND = "a person made it, and removes it"
    KEEPER_ALIVE = "a process keeps it"
    LEASE_ENDED = "it was kept, and its lease has ended"
    ENDED = "its run has ended"
    DIED = "the process of its run died"
    KEEPER_DIED = "the process that kept it warm died"
    UNKNOWN = "its run is in no ledger here"


class Removal(StrEnum):
    """The decision about a resource."""

    END = "end"
    IN_USE = "in use"  # left alone, not reported
    LEAVE = "leave"  # left alone, reported


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalDecision:
    """The decision about a resource, and its reason."""

    removal: Removal
    why: str


_NEEDED_STATES = (RunState.ALIVE, RunState.KEPT, RunState.BY_HAND, RunState.KEEPER_ALIVE)


def decide_removal(resource: Resource, run: RunState, *, now: datetime.datetime) -> RemovalDecision:
    """Decide whether a resource may be ended. Every removal by `sweep`, by a release and of images is decided here.

    A resource that is not proven to be ours is never ended. Where its run is in no ledger here and its lease goes on,
    the resource is most likely a host of another person, and is not reported.
    """
    if resource.unproven is not None:
        foreign = run is RunState.UNKNOWN and _is_token(resource.token) and _lease_runs(resource.expires, now)
        return RemovalDecision(removal=Removal.IN_USE if foreign else Removal.LEAVE, why=resource.unproven)
    if run in _NEEDED_STATES:
        return RemovalDecision(removal=Removal.IN_USE, why=run.value)
    if run is not RunState.UNKNOWN:
        return RemovalDecision(removal=Removal.END, why=run.value)
    if resource.expires is None:
        return RemovalDecision(removal=Removal.END, why=run.value)
    if units.parse_utc(resource.expires) is None:
        return RemovalDecision(removal=Removal.LEAVE, why="the end of its lease cannot be read")
    if _lease_runs(resource.expires, now):
        return RemovalDecision(removal=Removal.IN_USE, why="its lease goes on")
    return RemovalDecision(removal=Removal.END, why=f"{run.value}, and its lease has ended")


def _lease_runs(expires: str | None, now: datetime.datetime) -> bool:
    end = units.parse_utc(expires)
    return end is not None and now < end


def _is_token(text: str) -> bool:
    try:
        Token.parse(text)
    except ValueError:
        return False
    return True


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.startswith(TAGS) and key != SIGNATURE}


def _equal_digests(first: str, second: str) -> bool:
    return hmac.compare_digest(_encode(first), _encode(second))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
