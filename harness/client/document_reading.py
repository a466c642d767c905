"""Read documents of a service into dataclasses."""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import SetupError
from harness.untrusted.input_checks import show_path

T = TypeVar("T")


def read_document(kind: type[T], data: Any, *, url: str) -> T:
    """Read a document; keys that this version does not know are left out.

    Raises SetupError for one that this version does not understand.
    """
    try:
        read: T = _adapter(kind).validate_python(data)
        return read
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{show_path(first['loc'])}: " if first["loc"] else ""
        raise SetupError(
            f"this version does not understand what {url} answered: {place}{first['msg']}",
            next_step="use a version of ptp-harness that is as new as that of the service",
        ) from error


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
