"""What shall go wrong, and when? Rules in a JSON file that a test may change while the double runs.

    [{"method": "Create", "type": "instance", "code": "InsufficientInstanceCapacity", "message": "...", "times": 1}]

A rule applies to calls whose method is equal and whose type and URN contain `type` and `name`. It lets the first `skip`
of them pass and then applies `times` times (always, when it is not given). What it does:

- `delay_s`: wait before the effect; `delay_after_s`: wait after it, before the engine hears of it;
- `code` with `message`: fail as the real provider words EC2's errors, with gRPC code `grpc` (default UNKNOWN, which the
  real one sends too and which the engine takes as "status unknown");
- `after: true`: fail after the effect, so that something exists which no state knows;
- `partial: true`: after the effect, report it as made but not initialised: its id is in the state, and the step fails.
"""

import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule, as the module describes it."""

    method: str
    type: str = ""
    name: str = ""
    skip: int = 0
    times: int | None = None
    delay_s: float = 0.0
    delay_after_s: float = 0.0
    code: str = ""
    message: str = "made up by the provider double"
    grpc: str = "UNKNOWN"
    after: bool = False
    partial: bool = False

    def fits(self, method: str, kind: str, urn: str) -> bool:
        return method == self.method and self.type in kind and self.name in urn


NONE = Fault(method="")


class Faults:
    """The rules of a file, read again at each call, and how often each was met so far."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._met: Counter[Fault] = Counter()
        self._lock = threading.Lock()

    def of(self, method: str, kind: str, urn: str) -> Fault:
        """The first rule for this call whose turn it is."""
        with self._lock:
            for fault in self._rules():
                if not fault.fits(method, kind, urn):
                    continue
                self._met[fault] += 1
                turn = self._met[fault] - fault.skip
                if turn > 0 and (fault.times is None or turn <= fault.times):
                    return fault
        return NONE

    def _rules(self) -> list[Fault]:
        if self._path is None or not self._path.exists():
            return []
        rules: list[dict[str, Any]] = json.loads(self._path.read_text() or "[]")
        return [Fault(**rule) for rule in rules]
