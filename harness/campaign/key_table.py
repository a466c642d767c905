"""List every key of the campaign file with its values, default and meaning: for a terminal and the documentation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.campaign import campaign_file, fields, file_schema, key_meanings
from harness.campaign.file_schema import Node
from harness.model.bench_traits import BENCHES, BenchName
from harness.model.cloud import CloudOptions
from harness.untrusted.input_checks import KeyPath, show_path

_BY_BENCH: Mapping[KeyPath, Mapping[str, str]] = {
    ("measure", "duration"): {name: fields.format_duration(traits.measure_s) for name, traits in BENCHES.items()},
    ("parallel",): {name: str(traits.parallel) for name, traits in BENCHES.items()},
    ("image",): {BenchName.EC2: CloudOptions().image_name},
}
"""Defaults that the campaign file's schema does not hold, since they depend on the bench."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key of the campaign file. `default`: empty where the key has none."""

    path: KeyPath
    values: str
    default: str
    meaning: str

    @property
    def key(self) -> str:
        return show_path(self.path)


def list_keys() -> tuple[KeyRow, ...]:
    """List every key in the order of the schema, the keys of a group after the group."""
    return tuple(_rows((), campaign_file.json_schema()))


def group_keys(rows: Sequence[KeyRow]) -> dict[str, list[KeyRow]]:
    """Divide keys among the tables of docs/campaign-file.md: "" has the keys of no group, the others are groups."""
    groups: dict[str, list[KeyRow]] = {}
    for row in rows:
        groups.setdefault(str(row.path[0]) if len(row.path) > 1 else "", []).append(row)
    return groups


def describe_key(row: KeyRow) -> str:
    """Describe a key in a few lines of text."""
    default = f" (default: {row.default})" if row.default else ""
    return f"{row.key}\n    {row.values}{default}\n    {row.meaning}"


def markdown(rows: Sequence[KeyRow]) -> str:
    """Write keys as a Markdown table."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        default = f"`{row.default}`" if row.default and row.path not in _BY_BENCH else row.default
        lines.append(f"| `{row.key}` | {row.values} | {default} | {row.meaning.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def _rows(path: KeyPath, schema: Node) -> Iterator[KeyRow]:
    for key in file_schema.keys(path, schema):
        inner = (*path, key)
        yield KeyRow(
            path=inner,
            values=file_schema.describe(
                file_schema.find(inner, campaign_file.FILE_SCHEMA) or {}, campaign_file.FILE_SCHEMA
            ),
            default=_default(inner, schema),
            meaning=key_meanings.MEANINGS[inner],
        )
        yield from _rows(inner, schema)


def _default(path: KeyPath, schema: Node) -> str:
    if path in _BY_BENCH:
        return ", ".join(f"{default} ({bench})" for bench, default in _BY_BENCH[path].items())
    default = (file_schema.find(path, schema) or {}).get("default")
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default).replace("'", "")
