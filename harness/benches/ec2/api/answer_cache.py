"""Cache AWS's answers about a Region: one JSON file per answer with its date, always written as a whole.

A cached answer is valid for every user of the same endpoint, whatever the account. Zone names are an exception: each
account sees them in its own order (`us-east-1a`). After a change of the account, use --refresh.
"""

import datetime
import json
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
_AWS = re.compile(r"https://[a-z0-9.-]+\.amazonaws\.com(\.cn)?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedAnswer:
    """`content` is plain JSON data; `as_of` is the time of AWS's answer (UTC)."""

    as_of: datetime.datetime
    content: Any

    def age_s(self) -> float:
        return (utc_now() - self.as_of).total_seconds()


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def cache_file(cache_dir: Path, kind: str, region: str, endpoint: str) -> Path:
    """Return the file of a kind of answer. Endpoints other than AWS's have their own files: a simulator is not AWS."""
    suffix = "" if _AWS.fullmatch(endpoint) else "@" + re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")
    return cache_dir / "ec2" / f"{kind}-{region}{suffix}.json"


def read(path: Path) -> CachedAnswer | None:
    """Read a cached answer; None when there is none, or none in a format of this version."""
    try:
        document = json.loads(path.read_text())
        if document["schema"] != SCHEMA:
            return None
        return CachedAnswer(as_of=datetime.datetime.fromisoformat(document["taken"]), content=document["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, content: Any) -> CachedAnswer:
    """Cache an answer that AWS just gave. A cache that cannot be written costs only a new request next time."""
    answer = CachedAnswer(as_of=utc_now().replace(microsecond=0), content=content)
    data = {"schema": SCHEMA, "taken": answer.as_of.isoformat(), "content": content}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
            json.dump(data, partial)
        Path(partial.name).replace(path)
    return answer


def age_text(as_of: datetime.datetime) -> str:
    """Return the age of an answer as text for people: 40 s, 5 min, 3 h, 12 days."""
    seconds = max((utc_now() - as_of).total_seconds(), 0)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
