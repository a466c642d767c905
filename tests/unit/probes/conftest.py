"""Real output of tools, from tests/data, without the lines that say which command it was and how it ended."""

from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def said() -> Callable[[str], str]:
    """What a tool printed, by the file's path below tests/data."""

    def read(path: str) -> str:
        lines = (DATA / path).read_text().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("# "))

    return read


@pytest.fixture(scope="session")
def states() -> tuple[str, ...]:
    """The folders of tests/data/ena that hold one state of a driver each."""
    return tuple(sorted(path.parent.name for path in (DATA / "ena").glob("*/ethtool-i.txt")))
