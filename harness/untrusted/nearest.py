"""Find the valid names nearest to an unknown name, for messages about a misspelt name."""

import difflib
from collections.abc import Iterable


def nearest_names(name: str, candidates: Iterable[str], *, most: int = 3, likeness: float = 0.4) -> list[str]:
    """List at most `most` candidates, the most similar first. `likeness`: least similarity, 0 (any) to 1 (the same)."""
    return difflib.get_close_matches(name, list(candidates), n=most, cutoff=likeness)


def format_nearest(names: Iterable[str]) -> str:
    """Write nearest names to follow a message: ` (nearest: a, b)`; an empty string without names."""
    text = ", ".join(names)
    return f" (nearest: {text})" if text else ""


def format_suggestion(name: str, candidates: Iterable[str]) -> str:
    """Write the candidate most similar to a word: ` (did you mean 'a'?)`; an empty string where none is similar."""
    near = nearest_names(name, candidates, most=1, likeness=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
