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
    started_s = time.process_time()
    target.run(data)
    elapsed_s = time.process_time() - started_s
    if elapsed_s > MOST_CPU_S:
        raise TooSlow(f"{elapsed_s:.1f} s of computing time for one input, at most {MOST_CPU_S:g} s expected")


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], number: int) -> Iterator[bytes]:
    """Yield inputs without end, each made from a seed by up to six changes; the same `number` gives the same inputs."""
    generator = random.Random(number)
    while True:
        data = generator.choice(seeds)
        for _ in range(generator.randint(1, 6)):
            data = _mutate(data, seeds, words, generator)
        yield data[:MOST_BYTES]


def _mutate(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], generator: random.Random) -> bytes:
    start = generator.randint(0, len(data))
    end = min(len(data), start + generator.choice((1, 1, 2, 4, 8, 64, 512)))
    match generator.randint(0, 6):
        case 0:
            new = bytes(generator.randrange(256) for _ in range(end - start))
        case 1:
            new = b""
        case 2:
            new = data[start:end] * generator.choice((2, 3, 20))
        case 3:
            new = generator.choice(_EXTREMES)
        case 4:
            new = data[start:end] + generator.choice(words)
        case 5:
            return data[:start] + generator.choice(seeds)[start:]
        case _:
            donor = generator.choice(seeds)
            at = generator.randint(0, len(donor))
            new = donor[at : at + generator.choice((4, 40, 400))]
    return data[:start] + new + data[end:]
