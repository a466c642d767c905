"""Hints for misspelt names."""

from harness.untrusted.nearest import format_nearest, format_suggestion, nearest_names


def test_the_most_alike_come_first_and_nothing_unlike_comes() -> None:
    known = {"precision": 1, "precise": 2, "cluster": 3}
    assert nearest_names("precize", known) == ["precise", "precision"]
    assert nearest_names("zzz", known) == []
    assert len(nearest_names("zzz", known, most=2, likeness=0.0)) == 2


def test_a_hint_without_a_name_is_empty() -> None:
    assert (format_nearest(["a", "b"]), format_nearest([])) == (" (nearest: a, b)", "")
    assert format_suggestion("intervall", ("interval", "duration")) == " (did you mean 'interval'?)"
    assert format_suggestion("zzz", ("interval",)) == ""
