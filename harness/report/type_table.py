"""Show a bench's instance types with claims and measurements: as text for people, as plain data, or as a file."""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from harness import units
from harness.analysis.claims import COLUMNS, Measurement, TypeKnowledge
from harness.model.cloud import TypeInfo
from harness.report.forecast_text import format_phc, format_price, format_zones
from harness.report.table import align_rows

SCHEMA = 1
_HEAD = ("TYPE", "ARCH", "VCPU", "MEMORY", "PHC", "$/HOUR", "ENA", "ZONES")
_MEASURED = ("MEASURED", "OFFSET P99", "BOUND P99", "WHEN AND WHERE")


class ExportForm(StrEnum):
    """The formats in which the knowledge base is exported."""

    CSV = "csv"
    JSON = "json"


def lines(types: Sequence[TypeInfo], knowledge: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """Write one line per type; with `known` also the measurement, and a line for each contradiction with the claim."""
    head = _HEAD if knowledge is None else _HEAD + _MEASURED
    rows = [
        (*_row(info), *([] if knowledge is None else _measurement_cells(knowledge[info.name].measured)))
        for info in types
    ]
    table = align_rows([head, *rows])
    if knowledge is None:
        return table
    return [*table, *describe_contradictions([knowledge[info.name] for info in types])]


def plain_lines(summaries: Mapping[str, str], knowledge: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """Write the same lines for a bench whose types have only a summary."""
    if knowledge is None:
        return align_rows([("TYPE", "WHAT IT IS LIKE"), *summaries.items()])
    rows = [(name, *_measurement_cells(knowledge[name].measured), summary) for name, summary in summaries.items()]
    return [
        *align_rows([("TYPE", *_MEASURED, "WHAT IT IS LIKE"), *rows]),
        *describe_contradictions(list(knowledge.values())),
    ]


def describe_contradictions(knowledge: Sequence[TypeKnowledge]) -> list[str]:
    """Write one line for each contradiction between claim and measurement."""
    return [
        f"contradiction: {type_knowledge.instance_type}: {type_knowledge.contradiction}"
        for type_knowledge in knowledge
        if type_knowledge.contradiction
    ]


def document(types: Sequence[TypeInfo], knowledge: Mapping[str, TypeKnowledge] | None = None) -> list[dict[str, Any]]:
    """Build the types as JSON-ready data. Unknown values are null."""
    return [asdict(info) | ({} if knowledge is None else _knowledge_document(knowledge[info.name])) for info in types]


def plain_document(
    summaries: Mapping[str, str], knowledge: Mapping[str, TypeKnowledge] | None = None
) -> list[dict[str, Any]]:
    """Build the same data for a bench whose types have only a summary."""
    types = [{"name": name, "summary": summary} for name, summary in summaries.items()]
    return types if knowledge is None else [info | _knowledge_document(knowledge[info["name"]]) for info in types]


def _knowledge_document(type_knowledge: TypeKnowledge) -> dict[str, Any]:
    measured = None if type_knowledge.measured is None else asdict(type_knowledge.measured)
    return {"measured": measured, "contradiction": type_knowledge.contradiction}


def export(rows: Sequence[Mapping[str, str]], form: ExportForm, *, exported: datetime.datetime) -> str:
    """Export the knowledge base as a document; its last line ends with a newline."""
    if form is ExportForm.JSON:
        about = {"schema": SCHEMA, "exported": exported.isoformat(timespec="seconds"), "rows": list(rows)}
        return json.dumps(about, indent=2) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(info: TypeInfo) -> tuple[str, ...]:
    memory = f"{info.memory_mib / 1024:g} GiB"
    price_text = format_price(info.price_per_hour_usd)
    return (
        info.name,
        info.architecture,
        str(info.vcpus),
        memory,
        format_phc(info.phc),
        price_text,
        info.ena,
        format_zones(info.zones),
    )


def _measurement_cells(measured: Measurement | None) -> tuple[str, str, str, str]:
    """Write verdict, figures, time and place. The bound is that with the device's, where the driver publishes one."""
    if measured is None:
        return "-", "-", "-", "-"
    values = (measured.offset_p99_ns, measured.widest_bound_p99_ns)
    figures = ["-" if value is None else units.ns(value) for value in values]
    where = [measured.date[:10], *(part for part in (measured.zone or measured.region, measured.image) if part)]
    return f"{measured.outcome} {measured.reason}", figures[0], figures[1], " ".join(where)
