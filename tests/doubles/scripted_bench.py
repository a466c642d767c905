"""A bench whose hosts are files, so that they outlive the process that made them, as instances of a cloud do.

What it does for a token is drawn from a seed: it makes the host, has no capacity, loses it after the host was made,
answers late or not at all, or refuses its first removal. A host that is made a second time is written down.
"""

import datetime
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.benches.bench import (
    CapacityError,
    Check,
    InstanceType,
    Progress,
    TransientError,
    ignore_progress,
    refuse_disturbance,
)
from harness.errors import CleanupError
from harness.model import Machine, Offer, Placement, Resource, Token
from harness.model.cloud import PriceTerms
from harness.model.disturbances import Disturbance

KINDS = ("good", "bad", "full", "lost", "late", "hangs", "stubborn")
Point = Callable[[str], None]


class ScriptedBench:
    """Hosts in `folder`: made, gone and made twice. `point` is told before and after every effect.

    `refuses`: the share of hosts whose first removal fails.
    """

    name = "lab"

    def __init__(self, folder: Path, seed: int, point: Point = lambda _name: None, *, refuses: float = 0.2) -> None:
        self._folder, self._seed, self._point, self._refuses = folder, seed, point, refuses
        for name in ("made", "gone", "twice", "refused"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def types(self) -> Mapping[str, InstanceType]:
        return {kind: InstanceType(name=kind, summary=kind) for kind in KINDS}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        return ()

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        progress("ready")

    def terms(self, types: Sequence[str]) -> PriceTerms | None:
        return None

    def api_calls(self, token: Token | None = None) -> float | None:
        return None

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        kind, drawn = instance_type, self._draw(token, "made")
        if kind == "late":
            time.sleep(drawn.uniform(0, 0.004))
        if kind == "full" or (kind == "lost" and drawn.random() < 0.2):
            raise CapacityError("no room for it")
        self._make(token)
        progress("launching")
        if kind == "lost":
            raise CapacityError("it was taken back")
        if kind == "hangs":
            for _ in range(drawn.randrange(1, 4)):
                time.sleep(0.001)
                progress("waiting for an answer")
            raise TransientError("no answer in time")
        return self.describe(token, instance_type)

    def find(self, token: Token) -> Machine | None:
        return self.describe(token, "good") if self._file("made", token).exists() else None

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        (self._folder / "extended").write_text(f"{token} {until.isoformat()}")

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        raise refuse_disturbance(disturbance)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        made = self._file("made", token)
        if not made.exists():
            return
        refused = self._file("refused", token)
        if made.read_text() == "stubborn" and not refused.exists():
            refused.touch()
            raise CleanupError([str(token)], next_step="try it again")
        self._point("bench: remove")
        made.replace(self._file("gone", token))
        self._point("bench: removed")

    def resources(self) -> Sequence[Resource]:
        return [Resource(token=token, kind="machine", name=token, detail="") for token in self.list_made()]

    def list_made(self) -> list[str]:
        """The tokens of all hosts that exist."""
        return sorted(path.name.replace("+", "/") for path in (self._folder / "made").iterdir())

    def list_made_twice(self) -> list[str]:
        """The tokens for which a second host was made."""
        return sorted(path.name.replace("+", "/") for path in (self._folder / "twice").iterdir())

    def _make(self, token: Token) -> None:
        self._point("bench: make")
        if self._file("made", token).exists():
            return  # asked again for the host of the same token
        if self._file("gone", token).exists():
            self._file("twice", token).touch()
        partial = self._folder / f".{token.slug}"
        partial.write_text("stubborn" if self._draw(token, "removed").random() < self._refuses else "")
        partial.replace(self._file("made", token))
        self._point("bench: made")

    def _draw(self, token: Token, for_what: str) -> random.Random:
        return random.Random(f"{self._seed} {token.host} {token.attempt} {for_what}")

    def _file(self, folder: str, token: Token) -> Path:
        return self._folder / folder / str(token).replace("/", "+")

    def describe(self, token: Token, instance_type: str) -> Machine:
        return Machine(
            token=token,
            instance_type=instance_type,
            address="127.0.0.1",
            port=22,
            user="root",
            private_key=None,
            known_host="",
            second_opinion=None,
            placement=Placement(precise=None, detail=""),
            claim=None,
            offer=Offer(available=True, where="here"),
        )
