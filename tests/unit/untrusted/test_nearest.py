"""Hints for misspelt names."""

from harness.untrusted.nearest import did_you_mean, in_brackets, nearest_names


def test_the_most_alike_come_first_and_nothing_unlike_comes() -> None:
    known = {"precision": 1, "precise": 2, "cluster": 3}
    assert nearest_names("precize", known) == ["precise", "precision"]
    assert nearest_names("zzz", known) == []
    assert len(nearest_names("zzz", known, most=2, likeness=0.0)) == 2


def test_a_hint_without_a_name_is_empty() -> None:
    assert (in_brackets(["a", "b"]), in_brackets([])) == (" (nearest: a, b)", "")
    assert did_you_mean("intervall", ("interval", "duration")) == " (did you mean 'interval'?)"
    assert did_you_mean("zzz", ("interval",)) == ""
