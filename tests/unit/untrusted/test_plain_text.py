"""Text from outside: nothing in it steers a terminal, hides, or breaks what is written."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.untrusted.plain_text import clip, printable, well_formed

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=[]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ä and 時計", "plain, ä and 時計"),
        ("two\nlines", "two\nlines"),
        ("a\tb\u00a0c\u2028d\r", "a b c d "),
        ("\x1b]52;c;cHduZWQ=\x07", "\\x1b]52;c;cHduZWQ=\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("\ue000 private", "\\ue000 private"),
    ],
)
def test_what_steers_or_hides_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.slow
def test_every_character_that_steers_or_hides_is_written_out() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert {unicodedata.category(one) for one in printable(every) if one != "\n"} & HIDDEN == set()


@given(ANY_TEXT)
def test_what_is_printable_is_so_already_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert printable(shown) == shown
    assert shown.count("\n") == text.count("\n")


@given(ANY_TEXT)
def test_well_formed_text_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    once = well_formed(text)
    once.encode()
    assert well_formed(once) == once


@pytest.mark.parametrize(
    ("text", "formed"),
    [("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("\ud83d\ude00", "\U0001f600"), ("ä\U0001f600", "ä\U0001f600")],
)
def test_a_lone_surrogate_is_replaced_and_a_pair_is_joined(text: str, formed: str) -> None:
    assert well_formed(text) == formed


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert clip("x" * 500) == "x" * 500
    assert clip("x" * 501) == "x" * 500 + "... (501 characters)"
