"""Show a bench's instance types with claims and measurements: as text for people, as plain data, or as a file."""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from harness.analysis.claims import COLUMNS, Measurement, TypeKnowledge
from harness.model.cloud import TypeInfo
from harness.report.forecast_text import phc, price, zones
from harness.report.table import aligned

SCHEMA = 1
_HEAD = ("TYPE", "ARCH", "VCPU", "MEMORY", "PHC", "$/HOUR", "ENA", "ZONES")
_MEASURED = ("MEASURED", "WHEN AND WHERE")


class ExportForm(StrEnum):
    """The formats in which the knowledge base is exported."""

    CSV = "csv"
    JSON = "json"


def lines(types: Sequence[TypeInfo], known: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """Write one line per type; with `known` also the measurement, and a line for each contradiction with the claim."""
    head = _HEAD if known is None else _HEAD + _MEASURED
    rows = [(*_row(info), *([] if known is None else _seen(known[info.name].measured))) for info in types]
    table = aligned([head, *rows])
    if known is None:
        return table
    return [*table, *contradictions([known[info.name] for info in types])]


def plain_lines(summaries: Mapping[str, str], known: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """Write the same lines for a bench whose types have only a summary."""
    if known is None:
        return aligned([("TYPE", "WHAT IT IS LIKE"), *summaries.items()])
    rows = [(name, *_seen(known[name].measured), summary) for name, summary in summaries.items()]
    return [*aligned([("TYPE", *_MEASURED, "WHAT IT IS LIKE"), *rows]), *contradictions(list(known.values()))]


def contradictions(known: Sequence[TypeKnowledge]) -> list[str]:
    """Write one line for each contradiction between claim and measurement."""
    return [
        f"contradiction: {knowledge.instance_type}: {knowledge.contradiction}"
        for knowledge in known
        if knowledge.contradiction
    ]


def document(types: Sequence[TypeInfo], known: Mapping[str, TypeKnowledge] | None = None) -> list[dict[str, Any]]:
    """Build the types as JSON-ready data. Unknown values are null."""
    return [asdict(info) | ({} if known is None else _known(known[info.name])) for info in types]


def plain_document(
    summaries: Mapping[str, str], known: Mapping[str, TypeKnowledge] | None = None
) -> list[dict[str, Any]]:
    """Build the same data for a bench whose types have only a summary."""
    types = [{"name": name, "summary": summary} for name, summary in summaries.items()]
    return types if known is None else [info | _known(known[info["name"]]) for info in types]


def _known(known: TypeKnowledge) -> dict[str, Any]:
    measured = None if known.measured is None else asdict(known.measured)
    return {"measured": measured, "contradiction": known.contradiction}


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


def _row(one: TypeInfo) -> tuple[str, ...]:
    memory = f"{one.memory_mib / 1024:g} GiB"
    price_text = price(one.price_per_hour_usd)
    return one.name, one.architecture, str(one.vcpus), memory, phc(one.phc), price_text, one.ena, zones(one.zones)


def _seen(measured: Measurement | None) -> tuple[str, str]:
    if measured is None:
        return "-", "-"
    where = [measured.date[:10], *(part for part in (measured.zone or measured.region, measured.image) if part)]
    return f"{measured.outcome} {measured.reason}", " ".join(where)
