"""Choose and order types by the figures that were measured of them, for `types`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness import units
from harness.analysis.claims import Measurement, TypeKnowledge
from harness.errors import RequestError


class SortOrder(StrEnum):
    """The order of the list. Types without the value come last."""

    NAME = "name"
    VCPUS = "vcpus"
    MEMORY = "memory"
    PRICE = "price"
    OFFSET = "offset"
    BOUND = "bound"


BY_FIGURE = (SortOrder.OFFSET, SortOrder.BOUND)
"""Orders by a figure that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChoice:
    """The largest figures that a type may have, and the order of the list. None: any, also one that is not known."""

    max_offset_ns: float | None
    max_bound_ns: float | None
    sort: SortOrder

    def check(self, *, measured: bool) -> None:
        """Raise RequestError where figures are asked for without what was measured."""
        asked = [f"--sort {self.sort}"] if self.sort in BY_FIGURE else []
        asked += ["--max-offset"] if self.max_offset_ns is not None else []
        asked += ["--max-bound"] if self.max_bound_ns is not None else []
        if asked and not measured:
            needs = "need" if len(asked) > 1 else "needs"
            raise RequestError(f"{' and '.join(asked)} {needs} what was measured", next_step="add --measured")

    def choose(self, knowledge: Iterable[TypeKnowledge] | None) -> dict[str, TypeKnowledge] | None:
        """Choose and order what is known of types, by their names; None where nothing was asked for."""
        if knowledge is None:
            return None
        chosen = [each for each in knowledge if self._allows(each.measured)]
        if self.sort in BY_FIGURE:
            chosen.sort(key=lambda each: self._place(each.measured))
        return {each.instance_type: each for each in chosen}

    def describe(self) -> str:
        """Say which figures a type must have, for the line that counts what is left out."""
        limits = {"offset": self.max_offset_ns, "bound": self.max_bound_ns}
        texts = [f"{name} of at most {units.ns(value)}" for name, value in limits.items() if value is not None]
        return f"a measured {' and '.join(texts)}"

    def _allows(self, measured: Measurement | None) -> bool:
        figures = _figures(measured)
        limits = {SortOrder.OFFSET: self.max_offset_ns, SortOrder.BOUND: self.max_bound_ns}
        return all(
            most is None or ((value := figures[name]) is not None and value <= most) for name, most in limits.items()
        )

    def _place(self, measured: Measurement | None) -> tuple[bool, float]:
        value = _figures(measured)[self.sort]
        return value is None, value or 0.0


def _figures(measured: Measurement | None) -> Mapping[SortOrder, float | None]:
    return {
        SortOrder.OFFSET: measured.offset_p99_ns if measured else None,
        SortOrder.BOUND: measured.widest_bound_p99_ns if measured else None,
    }
