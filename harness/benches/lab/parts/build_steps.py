"""Number the steps of preparing the lab, so that its progress says how far it is: "step 2 of 5: ..."."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.benches.bench import Progress


class BuildSteps:
    """The steps of one preparation, some of them side by side. A step that finds its part built already says nothing.

    Without a `total`, lines carry no number.
    """

    def __init__(self, progress: Progress, total: int | None = None) -> None:
        self._progress, self._total = progress, total
        self._lock, self._begun = threading.Lock(), 0

    @contextmanager
    def step(self, part: str) -> Iterator[Progress]:
        """Give the progress of the next step, whose lines carry its number; the last one says how long it took."""
        with self._lock:
            self._begun += 1
            number = "" if self._total is None else f"step {self._begun} of {self._total}: "
        start_s, lines = time.monotonic(), 0

        def report(line: str) -> None:
            nonlocal lines
            lines += 1
            self._progress(f"{number}{line}")

        yield report
        if lines and number:
            report(f"{part}: done in {time.monotonic() - start_s:.0f} s")
