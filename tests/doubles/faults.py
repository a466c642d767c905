"""Select faults by rules in a JSON file, which a test may change while the double runs.

    [{"method": "Create", "type": "instance", "code": "InsufficientInstanceCapacity", "message": "...", "times": 1}]

A rule applies to calls whose method is equal and whose type and URN contain `type` and `name`. It lets the first `skip`
of them pass and then applies `times` times (always, when it is not given). Its effects:

- `delay_s`: wait before the effect; `delay_after_s`: wait after it, before the answer to the engine;
- `code` with `message`: fail with EC2's error as the real provider formats it, with gRPC code `grpc` (default UNKNOWN,
  which the real provider sends too and which the engine takes as "status unknown");
- `after: true`: fail after the effect, so that a resource exists which is in no state;
- `partial: true`: after the effect, report it as created but not initialised: its id is in the state, the step fails.
"""

import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A rule; the module's docstring describes its fields."""

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

    def applies_to(self, method: str, kind: str, urn: str) -> bool:
        return method == self.method and self.type in kind and self.name in urn


NONE = Fault(method="")


class Faults:
    """The rules of a file, read again at each call, and the number of calls that each has matched."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._matches: Counter[Fault] = Counter()
        self._lock = threading.Lock()

    def next_fault(self, method: str, kind: str, urn: str) -> Fault:
        """Return the first rule that applies to this call now; count the call for each rule that matches it."""
        with self._lock:
            for fault in self._rules():
                if not fault.applies_to(method, kind, urn):
                    continue
                self._matches[fault] += 1
                occurrence = self._matches[fault] - fault.skip
                if occurrence > 0 and (fault.times is None or occurrence <= fault.times):
                    return fault
        return NONE

    def _rules(self) -> list[Fault]:
        if self._path is None or not self._path.exists():
            return []
        rules: list[dict[str, Any]] = json.loads(self._path.read_text() or "[]")
        return [Fault(**rule) for rule in rules]
