"""List the formats of a report: each has a name, and a function that turns the run's record into text."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum

import yaml

from harness.model import RunRecord
from harness.report import junit, markdown, text
from harness.report.document import document


class Format(StrEnum):
    """`text` is for people; `json` and `yaml` hold everything; `junit` is for pipelines, `markdown` for pages."""

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
    plain = json.loads(_as_json(record))  # no tags for enums and tuples
    return yaml.safe_dump(plain, sort_keys=False, width=120)  # plain ASCII: beyond it some line ends get lost


_WRITERS: Mapping[Format, Callable[[RunRecord], str]] = {
    Format.TEXT: text.summary,
    Format.JSON: _as_json,
    Format.YAML: _as_yaml,
    Format.JUNIT: junit.report,
    Format.MARKDOWN: markdown.report,
}
