"""List the formats of a report: each has a name, and a function that turns the run's record into text."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import yaml

from harness.model import RunRecord
from harness.model.plots import ClockPlots
from harness.report import junit, markdown, openmetrics, text
from harness.report.document import document
from harness.report.html.page import render_page

Plots = Mapping[str, ClockPlots]
"""What the plots of hosts show, by the names of the hosts."""


class Format(StrEnum):
    """Formats of a report: `text` for people, `html` with plots, `json` and `yaml` with all data, others."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    HTML = "html"
    OPENMETRICS = "openmetrics"


def render(record: RunRecord, form: Format, plots: Plots = MappingProxyType({})) -> str:
    """Render the whole report in one format; its last line ends with a newline. Only HTML has plots."""
    return _WRITERS[form](record, plots)


def _as_json(record: RunRecord) -> str:
    return json.dumps(document(record), indent=2, default=str) + "\n"


def _as_yaml(record: RunRecord) -> str:
    plain = json.loads(_as_json(record))  # without enums and tuples, which would get YAML tags
    return yaml.safe_dump(plain, sort_keys=False, width=120)  # escaped to ASCII: otherwise some line ends get lost


_WRITERS: Mapping[Format, Callable[[RunRecord, Plots], str]] = {
    Format.TEXT: lambda record, _: text.summary(record),
    Format.JSON: lambda record, _: _as_json(record),
    Format.YAML: lambda record, _: _as_yaml(record),
    Format.JUNIT: lambda record, _: junit.report(record),
    Format.MARKDOWN: lambda record, _: markdown.report(record),
    Format.HTML: render_page,
    Format.OPENMETRICS: lambda record, _: openmetrics.report(record),
}
