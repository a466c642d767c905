"""Read the document that a pod of `cluster smoke` prints: one list of checks, as JSON."""

import json
from collections.abc import Sequence

from harness.benches.bench import Check
from harness.untrusted.plain_text import clip, printable

_MOST_NAME_CHARACTERS, _MOST_CHARACTERS, _MOST_CHECKS = 60, 400, 100


def read_probe(lines: Sequence[str]) -> list[Check] | None:
    """Read the checks of a pod, of bounded plain text; None where its lines are not whole, or say something else."""
    try:
        return [
            Check(
                name=clip(printable(str(each["name"])), _MOST_NAME_CHARACTERS),
                ok=each["ok"] is True,
                observed=clip(printable(str(each["observed"])), _MOST_CHARACTERS),
                remedy=clip(printable(str(each["remedy"])), _MOST_CHARACTERS),
            )
            for each in json.loads("\n".join(lines))[:_MOST_CHECKS]
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
