"""A bench's instance types, what is claimed of them and what was measured: for people, as data, as a file to keep."""

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
from harness.report.text import aligned

SCHEMA = 1
_HEAD = ("TYPE", "ARCH", "VCPU", "MEMORY", "PHC", "$/HOUR", "ENA", "ZONES")
_MEASURED = ("MEASURED", "WHEN AND WHERE")


class ExportForm(StrEnum):
    """What the knowledge base is exported as."""

    CSV = "csv"
    JSON = "json"


def lines(types: Sequence[TypeInfo], known: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """One line per type; with `known` also what was measured, and a line more where that contradicts the claim."""
    head = _HEAD if known is None else _HEAD + _MEASURED
    rows = [(*_row(one), *([] if known is None else _seen(known[one.name].measured))) for one in types]
    table = aligned([head, *rows])
    if known is None:
        return table
    return [*table, *contradictions([known[one.name] for one in types])]


def plain_lines(summaries: Mapping[str, str], known: Mapping[str, TypeKnowledge] | None = None) -> list[str]:
    """The same of a bench whose types have no more than a summary."""
    if known is None:
        return aligned([("TYPE", "WHAT IT IS LIKE"), *summaries.items()])
    rows = [(name, *_seen(known[name].measured), summary) for name, summary in summaries.items()]
    return [*aligned([("TYPE", *_MEASURED, "WHAT IT IS LIKE"), *rows]), *contradictions(list(known.values()))]


def contradictions(known: Sequence[TypeKnowledge]) -> list[str]:
    """One line for each."""
    return [f"contradiction: {one.instance_type}: {one.contradiction}" for one in known if one.contradiction]


def document(types: Sequence[TypeInfo], known: Mapping[str, TypeKnowledge] | None = None) -> list[dict[str, Any]]:
    """The types as JSON-ready data. What is unknown is null."""
    return [asdict(one) | ({} if known is None else _known(known[one.name])) for one in types]


def plain_document(
    summaries: Mapping[str, str], known: Mapping[str, TypeKnowledge] | None = None
) -> list[dict[str, Any]]:
    """The same of a bench whose types have no more than a summary."""
    types = [{"name": name, "summary": summary} for name, summary in summaries.items()]
    return types if known is None else [one | _known(known[one["name"]]) for one in types]


def _known(known: TypeKnowledge) -> dict[str, Any]:
    measured = None if known.measured is None else asdict(known.measured)
    return {"measured": measured, "contradiction": known.contradiction}


def export(rows: Sequence[Mapping[str, str]], form: ExportForm, *, exported: datetime.datetime) -> str:
    """The knowledge base as a document, its last line ended."""
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
    told = price(one.price_per_hour_usd)
    return one.name, one.architecture, str(one.vcpus), memory, phc(one.phc), told, one.ena, zones(one.zones)


def _seen(measured: Measurement | None) -> tuple[str, str]:
    if measured is None:
        return "-", "-"
    where = [measured.date[:10], *(word for word in (measured.zone or measured.region, measured.image) if word)]
    return f"{measured.outcome} {measured.reason}", " ".join(where)
