"""No parser takes more than linear time, within measurement: four times the text takes less than six times as long."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from harness.errors import ParseError
from harness.probes import samples
from tests.unit.probes.test_any_text import PARSERS

CLASSES = {
    "spaces": " ", "tabs": "\t", "letters": "a", "digits": "7", "colons": ":", "commas": ",", "dots": ".",
    "dashes": "-", "slashes": "/", "equals": "=", "brackets": "[", "quotes": '"', "backslashes": "\\", "lines": "\n",
    "words": "a ", "fields": "a: 1", "pairs": "a=b ", "arrows": "a -> b ",
    "names": "phc_cnt: ", "paths": "/sys/class/ptp/ptp0/",
}  # fmt: skip
SHORT, TIMES, MOST = 4_000, 4, 6.0
TRIES = 8
NOISE_S = 0.0005


def fastest_s(read: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        with suppress(ParseError):
            read()
        best = min(best, time.process_time() - begun)
    return best


def around(text: str) -> list[str]:
    """The text between words that make a pattern begin to match, and go back at the end."""
    return [f"{before}{text}{after}" for before in ("", "a", "phc_cnt: ") for after in ("", " x", "\n")]


def growth(parse: Callable[[str, str], object], piece: str, length: int = SHORT, tries: int = TRIES) -> float:
    """How many times as long a text takes that is four times as long; the best of some tries, as machines are noisy."""
    best = float("inf")
    for _ in range(tries):
        short, long = (piece * (length * factor // len(piece)) for factor in (1, TIMES))
        seconds = [max(fastest_s(partial(parse, one, "w")) for one in around(text)) for text in (short, long)]
        best = min(best, (seconds[1] + NOISE_S) / (seconds[0] + NOISE_S))
        if best < MOST:
            return best
    return best


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", PARSERS)
def test_four_times_the_text_takes_less_than_six_times_as_long(name: str, kind: str) -> None:
    assert growth(PARSERS[name], CLASSES[kind]) < MOST


@pytest.mark.parametrize("kind", CLASSES)
def test_so_it_is_of_the_samplers_lines(kind: str) -> None:
    assert growth(lambda text, where: samples.read_samples(text, where=where), CLASSES[kind]) < MOST


def test_the_growth_test_fails_where_it_must() -> None:
    slow = re.compile(r"\s*(\S.*?)\s*:\s*(-?[0-9]{1,20})\s*")
    assert growth(lambda text, _where: slow.fullmatch(text), " ", 800, tries=1) > MOST
