"""Hold records of one dataclass as columns: one array for each field, also of the records inside of them.

The columns follow from the types of the fields. A field may be a whole number, a number, a flag, a text, a dataclass
of such fields, a tuple of any length of one of these, or any of these or None. Of None only a flag is held; of a tuple
its length and, in the columns of its items, the items. A new field therefore has its columns without further code.

Columns need a tenth of the memory of the objects. Whole numbers beyond 64 bits, and whatever else an array cannot hold,
make a list of that one column.
"""

import types
import typing
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import accumulate
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

Values: TypeAlias = "array[Any] | list[Any]"  # array is a generic type for a type checker alone


class Column:
    """The values of one field: an array of this typecode, or a list where a value does not fit in it.

    `texts` are the different texts of a column of texts, whose values are places in it; None for other columns.
    """

    __slots__ = ("texts", "typecode", "values")

    def __init__(self, typecode: str, texts: list[str] | None = None) -> None:
        self.typecode, self.texts = typecode, texts
        self.values: Values = array(typecode)

    def extend(self, values: Sequence[Any]) -> None:
        """Append values."""
        try:
            more: Values = array(self.typecode, values)
        except (OverflowError, TypeError):
            more = list(values)
        if isinstance(self.values, array) and not isinstance(more, array):
            self.values = self.values.tolist()
        self.values.extend(more)

    @property
    def compact(self) -> bool:
        """Whether all values fit in an array."""
        return isinstance(self.values, array)


class Node(Protocol):
    """The columns of one type: of a field, or of the records themselves."""

    def extend(self, values: Sequence[Any]) -> None:
        """Append values of the type."""

    def read(self, begin: int, end: int) -> list[Any]:
        """Make the values from `begin` to before `end` again."""

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        """Yield each column with its path, such as `reads.phc_ns`."""

    def check(self, count: int) -> None:
        """Check that the columns fit together, and hold this number of values. Raises ValueError."""


def make_node(kind: Any) -> Node:
    """Make the empty columns of a type. Raises TypeError for a type that columns cannot hold."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and types.NoneType in arguments:
        return OptionalNode(make_node(next(given for given in arguments if given is not types.NoneType)))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return TupleNode(make_node(arguments[0]))
    if kind is str:
        return TextNode()
    if kind in _TYPECODES:
        return NumberNode(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return RecordNode(kind)
    raise TypeError(f"columns cannot hold {kind!r}")


_TYPECODES: Mapping[type, str] = {int: "q", float: "d", bool: "B"}


class NumberNode:
    """Whole numbers, numbers, or flags."""

    def __init__(self, kind: type) -> None:
        self._kind, self.column = kind, Column(_TYPECODES[kind])

    def extend(self, values: Sequence[Any]) -> None:
        self.column.extend(values)

    def read(self, begin: int, end: int) -> list[Any]:
        part = list(self.column.values[begin:end])
        return [bool(value) for value in part] if self._kind is bool else part

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        yield path, self.column

    def check(self, count: int) -> None:
        _check_length(self.column, count)
        if self._kind is bool:
            _count_flags(self.column)


class TextNode:
    """Texts, each different one held once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.column = Column("I", self.texts)
        self._places: dict[str, int] = {}

    def extend(self, values: Sequence[Any]) -> None:
        places = self._places
        for text in dict.fromkeys(values):
            if text not in places:
                places[text] = len(self.texts)
                self.texts.append(text)
        self.column.extend([places[text] for text in values])

    def read(self, begin: int, end: int) -> list[Any]:
        return [self.texts[place] for place in self.column.values[begin:end]]

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        yield path, self.column

    def check(self, count: int) -> None:
        _check_length(self.column, count)
        self._places = {text: place for place, text in enumerate(self.texts)}
        if len(self._places) < len(self.texts) or max(self.column.values, default=-1) >= len(self.texts):
            raise ValueError("a text is named that is not there, or is there twice")


class OptionalNode:
    """Values of a type, or None: a flag for each, and the values that are there."""

    def __init__(self, inner: Node) -> None:
        self.inner, self.present = inner, Column("B")
        self._begins: array[int] | None = None

    def extend(self, values: Sequence[Any]) -> None:
        self._begins = None
        self.present.extend([value is not None for value in values])
        self.inner.extend([value for value in values if value is not None])

    def read(self, begin: int, end: int) -> list[Any]:
        if self._begins is None:
            self._begins = _accumulate(self.present)
        inner = iter(self.inner.read(self._begins[begin], self._begins[end]))
        return [next(inner) if there else None for there in self.present.values[begin:end]]

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        yield f"{path}?", self.present
        yield from self.inner.walk(path)

    def check(self, count: int) -> None:
        _check_length(self.present, count)
        self.inner.check(_count_flags(self.present))


class TupleNode:
    """Tuples of any length: the length of each, and the items of all."""

    def __init__(self, inner: Node) -> None:
        self.inner, self.lengths = inner, Column("I")
        self._begins: array[int] | None = None

    def extend(self, values: Sequence[Any]) -> None:
        self._begins = None
        self.lengths.extend([len(value) for value in values])
        self.inner.extend([item for value in values for item in value])

    def read(self, begin: int, end: int) -> list[Any]:
        if self._begins is None:
            self._begins = _accumulate(self.lengths)
        begins = self._begins
        first, items = begins[begin], self.inner.read(begins[begin], begins[end])
        return [tuple(items[begins[each] - first : begins[each + 1] - first]) for each in range(begin, end)]

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        yield f"{path}#", self.lengths
        yield from self.inner.walk(path)

    def check(self, count: int) -> None:
        _check_length(self.lengths, count)
        self.inner.check(sum(self.lengths.values))


class RecordNode:
    """Records of a dataclass, whose fields are given by their names."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self.nodes: dict[str, Node] = {name: make_node(field) for name, field in _read_fields(kind).items()}

    def extend(self, values: Sequence[Any]) -> None:
        for name, node in self.nodes.items():
            node.extend(list(map(attrgetter(name), values)))

    def read(self, begin: int, end: int) -> list[Any]:
        names, kind = tuple(self.nodes), self._kind
        rows = zip(*(node.read(begin, end) for node in self.nodes.values()), strict=True)
        return [kind(**dict(zip(names, row, strict=True))) for row in rows]

    def walk(self, path: str) -> Iterator[tuple[str, Column]]:
        for name, node in self.nodes.items():
            yield from node.walk(f"{path}.{name}" if path else name)

    def check(self, count: int) -> None:
        for node in self.nodes.values():
            node.check(count)


@cache
def _read_fields(kind: type) -> Mapping[str, Any]:
    """Read the fields of a dataclass with their types, which takes a millisecond."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _accumulate(column: Column) -> "array[int]":
    """Count the items before each value, and at last all."""
    return array("q", accumulate(column.values, initial=0))


def _check_length(column: Column, count: int) -> None:
    if len(column.values) != count:
        raise ValueError("columns of unequal length")


def _count_flags(column: Column) -> int:
    """Count the flags that are set. Raises ValueError for a flag that is neither 0 nor 1."""
    flags = bytes(column.values)
    if flags.count(0) + flags.count(1) != len(flags):
        raise ValueError("a flag is 0 or 1")
    return flags.count(1)
