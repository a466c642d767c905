"""Run a target without a fuzzer: by its seeds, and by mutations of the seeds that depend only on a number."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

MOST_CPU_S = 2.0
"""Maximum computing time of one input, in seconds."""

MOST_BYTES = 16_384
_EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff" * 8)


class FuzzTarget(Protocol):
    """A module of this package with the functions of a fuzz target."""

    WORDS: Sequence[bytes]

    def seeds(self) -> list[bytes]: ...
    def run(self, data: bytes) -> None: ...


class TooSlow(Exception):
    """An input took more computing time than MOST_CPU_S."""


def run_within(target: FuzzTarget, data: bytes) -> None:
    """Run one input. Raises whatever the target raises, and TooSlow."""
    begun_s = time.process_time()
    target.run(data)
    took_s = time.process_time() - begun_s
    if took_s > MOST_CPU_S:
        raise TooSlow(f"{took_s:.1f} s of computing time for one input, at most {MOST_CPU_S:g} s expected")


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], number: int) -> Iterator[bytes]:
    """Yield inputs without end, each made from a seed by up to six changes; the same `number` gives the same inputs."""
    chance = random.Random(number)
    while True:
        data = chance.choice(seeds)
        for _ in range(chance.randint(1, 6)):
            data = _changed(data, seeds, words, chance)
        yield data[:MOST_BYTES]


def _changed(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((1, 1, 2, 4, 8, 64, 512)))
    match chance.randint(0, 6):
        case 0:
            new = bytes(chance.randrange(256) for _ in range(end - start))
        case 1:
            new = b""
        case 2:
            new = data[start:end] * chance.choice((2, 3, 20))
        case 3:
            new = chance.choice(_EXTREMES)
        case 4:
            new = data[start:end] + chance.choice(words)
        case 5:
            return data[:start] + chance.choice(seeds)[start:]
        case _:
            donor = chance.choice(seeds)
            at = chance.randint(0, len(donor))
            new = donor[at : at + chance.choice((4, 40, 400))]
    return data[:start] + new + data[end:]
