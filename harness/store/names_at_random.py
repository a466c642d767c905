"""Draw short names of runs and tasks at random."""

import secrets

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters and digits that look alike


def draw_name(characters: int = 4) -> str:
    """Draw a name of so many letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(characters))
