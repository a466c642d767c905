"""Find the known names nearest to one that nobody knows, for messages about a misspelt name."""

import difflib
from collections.abc import Iterable


def nearest_names(name: str, candidates: Iterable[str], *, most: int = 3, likeness: float = 0.4) -> list[str]:
    """List at most so many known names, the most alike first. `likeness`: from 0 (any) to 1 (the same)."""
    return difflib.get_close_matches(name, list(candidates), n=most, cutoff=likeness)


def format_nearest(names: Iterable[str]) -> str:
    """Write nearest names behind a message: ` (nearest: a, b)`; nothing where there are none."""
    text = ", ".join(names)
    return f" (nearest: {text})" if text else ""


def format_suggestion(word: str, candidates: Iterable[str]) -> str:
    """Write the one known word that was probably meant: ` (did you mean 'a'?)`; nothing where none is alike."""
    near = nearest_names(word, candidates, most=1, likeness=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
