"""List the formats of a report: each has a name, and a function that turns the run's record into text."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum

import yaml

from harness.model import RunRecord
from harness.report import junit, markdown, text
from harness.report.document import document


class Format(StrEnum):
    """Formats of a report: `text` for people, `json` and `yaml` with all data, `junit` for pipelines, `markdown`."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    JUNIT = "junit"
    MARKDOWN = "markdown"


def render(record: RunRecord, form: Format) -> str:
    """Render the whole report in one format; its last line ends with a newline."""
    return _WRITERS[form](record)


def _as_json(record: RunRecord) -> str:
    return json.dumps(document(record), indent=2, default=str) + "\n"


def _as_yaml(record: RunRecord) -> str:
    plain = json.loads(_as_json(record))  # without enums and tuples, which would get YAML tags
    return yaml.safe_dump(plain, sort_keys=False, width=120)  # escaped to ASCII: otherwise some line ends get lost


_WRITERS: Mapping[Format, Callable[[RunRecord], str]] = {
    Format.TEXT: text.summary,
    Format.JSON: _as_json,
    Format.YAML: _as_yaml,
    Format.JUNIT: junit.report,
    Format.MARKDOWN: markdown.report,
}
