"""How are AWS's answers about a Region kept for later? One JSON file each, with when it was asked; never half a file.

What is kept holds for everybody who asks the same endpoint, whatever the account, but for names of zones, which an
account sees in its own order (`us-east-1a`): who changes accounts asks again (--refresh).
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
    """`content` is plain JSON data; `taken` is when AWS said it (UTC)."""

    taken: datetime.datetime
    content: Any

    def age_s(self) -> float:
        return (utc_now() - self.taken).total_seconds()


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def cache_file(cache_dir: Path, kind: str, region: str, endpoint: str) -> Path:
    """The file of one kind of answer. Another endpoint than AWS's own has its own: a model's word is not AWS's."""
    elsewhere = "" if _AWS.fullmatch(endpoint) else "@" + re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")
    return cache_dir / "ec2" / f"{kind}-{region}{elsewhere}.json"


def read(path: Path) -> CachedAnswer | None:
    """What was kept; None when there is nothing, or nothing that this version understands."""
    try:
        kept = json.loads(path.read_text())
        if kept["schema"] != SCHEMA:
            return None
        return CachedAnswer(taken=datetime.datetime.fromisoformat(kept["taken"]), content=kept["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, content: Any) -> CachedAnswer:
    """Keep what AWS just said. A cache that cannot be written costs only the next question."""
    answer = CachedAnswer(taken=utc_now().replace(microsecond=0), content=content)
    data = {"schema": SCHEMA, "taken": answer.taken.isoformat(), "content": content}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
            json.dump(data, partial)
        Path(partial.name).replace(path)
    return answer


def age_text(taken: datetime.datetime) -> str:
    """How long ago, for people: 40 s, 5 min, 3 h, 12 days."""
    seconds = max((utc_now() - taken).total_seconds(), 0)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
