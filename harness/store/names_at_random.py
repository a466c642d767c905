"""Draw short names of runs and tasks at random."""

import hashlib
import secrets

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters and digits that look alike

RUN_CHARACTERS, SUBMITTED_RUN_CHARACTERS = 4, 6
"""Characters of a run's name. Runs that were submitted to sites come together in the ledger of a hub: their names are
drawn from 900 million, so that two of them are hardly ever the same."""

TASK_CHARACTERS = 6
"""Characters of a task's name."""


def draw_name(characters: int = RUN_CHARACTERS) -> str:
    """Draw a name of so many letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(characters))


def derive_name(seed: str, characters: int) -> str:
    """Return the name of so many letters and digits that always belongs to this text, as if drawn at random."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
    return "".join(_LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(characters))
