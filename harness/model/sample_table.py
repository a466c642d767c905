"""Hold the samples of a host as columns, such that a day of them needs tens of megabytes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from harness.model.columns import Column, RecordNode
from harness.model.observed import Sample

_BATCH = 512

T = TypeVar("T")


class SampleTable(Sequence[Sample]):
    """A sequence of samples that are held as columns, and made when they are asked for. It equals a tuple of them.

    `columns`: each column by its path, such as `slot`, `reads.phc_ns`, `tracking.leap`. The column `reads?` tells of
    each sample whether it has readings, `reads#` of each sample that has them how many, and `reads.phc_ns` holds the
    times of all readings, in the order of the samples. So it is with every field that may be None or is a tuple.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._root, self._length = RecordNode(Sample), 0
        self._waiting: list[Sample] = []  # appended, and not yet in the columns
        self._derived: dict[Any, Any] = {}
        self.columns: Mapping[str, Column] = dict(self._root.walk(""))
        for sample in samples:
            self.append(sample)

    def append(self, sample: Sample) -> None:
        """Append a sample."""
        self._waiting.append(sample)
        if len(self._waiting) >= _BATCH:
            self.settle()

    def settle(self) -> None:
        """Put into the columns what was appended. Every other method does so first, except `append` and `len`."""
        if self._waiting:
            self._root.extend(self._waiting)
            self._length += len(self._waiting)
            self._waiting.clear()
            self._derived.clear()

    def accept(self, count: int) -> None:
        """Take this number of samples that were written to the columns. Raises ValueError unless the columns fit."""
        self._root.check(count)
        self._length = count

    def derive(self, compute: Callable[["SampleTable"], T]) -> T:
        """Return what a function computes of this table: computed once, as long as nothing is appended."""
        self.settle()
        if compute not in self._derived:
            self._derived[compute] = compute(self)
        return self._derived[compute]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self._length + len(self._waiting)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._read(places, places + 1)[0]
        if places.step == 1:
            return tuple(self._read(places.start, max(places.start, places.stop)))
        return tuple(self[place] for place in places)

    def __iter__(self) -> Iterator[Sample]:
        for begin in range(0, len(self), _BATCH):
            yield from self._read(begin, min(begin + _BATCH, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampleTable | tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} samples as columns>"

    def _read(self, begin: int, end: int) -> list[Sample]:
        self.settle()
        return self._root.read(begin, end)
