"""Write and read cursors: the place in a list from which the next page goes on."""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from harness.service.problems import ServiceError


def write_cursor(*parts: str | int | float | None) -> str:
    """Write the values that name a place in a list as one opaque text."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(text: str, kinds: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """Read a cursor with values of these types, in their order. Raises ServiceError (400)."""
    try:
        parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        parts = None
    fits = isinstance(parts, list) and len(parts) == len(kinds)
    if not fits or not all(_is_of(part, kind) for part, kind in zip(parts, kinds, strict=True)):
        raise ServiceError(
            HTTPStatus.BAD_REQUEST, "the cursor is not one of this list", next_step="leave it out, to begin at the top"
        )
    return list(parts)


def _is_of(part: object, kind: type | tuple[type, ...]) -> bool:
    if isinstance(part, bool) or (isinstance(part, int) and abs(part) >= 2**63):
        return False
    if (isinstance(part, str) and not part.isprintable()) or (isinstance(part, float) and not math.isfinite(part)):
        return False  # no database takes every such value
    return isinstance(part, kind)
