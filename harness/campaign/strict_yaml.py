"""Load YAML that people wrote as plain data of bounded size. Aliases and duplicate keys are refused.

With aliases a few lines can stand for gigabytes; a duplicate key hides one of its two values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from harness.errors import RequestError
from harness.untrusted.input_checks import MOST_BYTES, MOST_CHARACTERS, MOST_DEPTH, KeyPath, shorten_value, show_key

_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)
"""The exceptions of yaml.load on bad text; all but the first come from explicit tags such as `!!int x`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedYaml:
    """The data of a text, and the line (from 1) of each key and each list item, by its path."""

    data: Any
    lines: Mapping[KeyPath, int]


def load(text: str, *, where: str, next_step: str) -> LoadedYaml:
    """Load the data of a text. Raises RequestError, with line and column where known; `next_step` is the error's."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise RequestError(f"{where}: more than {MOST_BYTES} bytes are no campaign", next_step=next_step)
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        data = None if node is None else loader.construct_document(node)
        return LoadedYaml(data=data, lines=dict(_lines(node)))
    except yaml.MarkedYAMLError as error:
        raise RequestError(
            f"{where}{_place(error)}: {(error.problem or 'not YAML')[:300]}",
            next_step="look at that place and the line before it: brackets, quotes, `key: value` with a space",
        ) from error
    except _NOT_YAML as error:
        message = f"{where}: not YAML: {type(error).__name__} {error}"
        raise RequestError(message[:500], next_step=next_step) from error


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that also refuses aliases, duplicate keys, deep nesting and long texts."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            name = f"{'*' if isinstance(event, yaml.AliasEvent) else '&'}{event.anchor}"
            raise _yaml_error(
                f"aliases such as {shorten_value(name)} are not allowed: write the value out", event.start_mark
            )
        if self.depth > MOST_DEPTH:
            raise _yaml_error(f"nested more than {MOST_DEPTH} deep", event.start_mark)
        if len(getattr(event, "value", "")) > MOST_CHARACTERS:
            raise _yaml_error(f"a text of more than {MOST_CHARACTERS} characters", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise _yaml_error(f"the key {shorten_value(key.value)} appears twice", key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def _lines(node: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    entries: list[tuple[str | int, Any, Any]]
    if isinstance(node, yaml.MappingNode):
        entries = [(show_key(key.value), key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(number, item, item) for number, item in enumerate(node.value)]
    else:
        return
    for key, place, value in entries:
        yield (*path, key), place.start_mark.line + 1
        yield from _lines(value, (*path, key))


def _yaml_error(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, place)


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""
