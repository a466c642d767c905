"""Record the steps of one host: in the ledger before the effect, timed, and with the result in the ledger after it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.benches.bench import Progress
from harness.model import Stage, Token
from harness.runs.context import Interrupted, RunContext


class StepRecorder:
    """Records the steps of one host. `seconds` has the time of each stage so far, `latest` the stage begun last."""

    def __init__(self, token: Token, context: RunContext) -> None:
        self.seconds: dict[Stage, float] = {}
        self.latest: Stage | None = None
        self._token, self._context = token, context

    @contextmanager
    def step(self, stage: Stage, *, interruptible: bool = True) -> Iterator[Progress]:
        """Record a step before and after, and give the function that publishes its progress.

        That function raises Interrupted once the run was asked to stop, unless the step is not `interruptible`. A text
        that repeats the one before is not published.
        """
        latest: list[str] = []

        def progress(text: str) -> None:
            if interruptible and self._context.controls.stop.is_set():
                raise Interrupted
            if latest != [text]:
                latest[:] = [text]
                self._context.events.publish(text, host=self._token.host, stage=stage)

        self.latest, begun, result = stage, time.monotonic(), "done"
        number = self._context.ledger.begin_step(self._token, stage)
        try:
            progress("")
            yield progress
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.add_seconds(stage, time.monotonic() - begun)
            self._context.ledger.end_step(number, result)

    def add_seconds(self, stage: Stage, seconds: float) -> None:
        """Count the time of a stage, which a host may pass more than once."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 3)

    def pause(self, seconds: float) -> None:
        """Wait. Raises Interrupted as soon as the run was asked to stop."""
        if self._context.controls.stop.wait(seconds):
            raise Interrupted
