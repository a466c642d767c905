"""Record the steps of one host: in the ledger before the effect, timed, and with the result in the ledger after it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.benches.bench import Progress
from harness.model import Stage, Token
from harness.runs.context import Interrupted, RunContext


class StepRecorder:
    """The steps of one host. `seconds` is how long each stage took so far."""

    def __init__(self, token: Token, context: RunContext) -> None:
        self.seconds: dict[Stage, float] = {}
        self._token, self._context = token, context

    @contextmanager
    def step(self, stage: Stage, *, interruptible: bool = True) -> Iterator[Progress]:
        """Book a step before and after, and give the function that tells its progress.

        That function raises Interrupted once the run was asked to stop, unless the step is not `interruptible`.
        """
        last: list[str] = []

        def tell(text: str) -> None:
            if interruptible and self._context.controls.stop.is_set():
                raise Interrupted
            if last != [text]:
                last[:] = [text]
                self._context.controls.listener(self._token.host, stage, text)

        number, begun, result = self._context.ledger.begin(self._token, stage), time.monotonic(), "done"
        try:
            tell("")
            yield tell
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.add_seconds(stage, time.monotonic() - begun)
            self._context.ledger.end(number, result)

    def add_seconds(self, stage: Stage, seconds: float) -> None:
        """Count the time of a stage, which a host may pass more than once."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 3)

    def pause(self, seconds: float) -> None:
        """Wait. Raises Interrupted as soon as the run was asked to stop."""
        if self._context.controls.stop.wait(seconds):
            raise Interrupted
