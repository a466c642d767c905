"""Define a bench whose hosts only take time, to measure what a run costs beside its hosts."""

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence

from harness.benches.bench import Check, InstanceType, Progress, ignore_progress, refuse_disturbance
from harness.model import Machine, Resource, Token
from harness.model.disturbances import Disturbance

HOSTS = 30
SECONDS = {f"slow.{number}": 7.0 + number / 10 for number in range(1, HOSTS + 1)}
SLOWEST = f"slow.{HOSTS}"


class SlowBench:
    """A bench whose hosts take a fixed time to come up, all of nearly the same length, and then never answer."""

    name = "lab"

    def __init__(self, silent: Machine) -> None:
        self._silent = silent

    def types(self) -> Mapping[str, InstanceType]:
        return {name: InstanceType(name=name, summary=name) for name in SECONDS}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        return ()

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        progress("ready")

    def terms(self, types: Sequence[str]) -> None:
        return None

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        ready_at = time.monotonic() + SECONDS[instance_type]
        while (left_s := ready_at - time.monotonic()) > 0:
            progress(f"{left_s:.0f} s more")
            time.sleep(min(left_s, 0.5))
        return dataclasses.replace(self._silent, token=token, instance_type=instance_type)

    def find(self, token: Token) -> Machine | None:
        return None

    def extend_lease(self, token: Token, until: datetime.datetime) -> None: ...

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        raise refuse_disturbance(disturbance)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        pass

    def resources(self) -> Sequence[Resource]:
        return ()

    def api_calls(self, token: Token | None = None) -> None:
        return None
