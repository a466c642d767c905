"""The report as Markdown, for a page or a pull request: the table of verdicts, then each host's ladder, folded."""

import html

from harness.model import HostRecord, RunRecord
from harness.report import text


def report(record: RunRecord) -> str:
    """The run as GitHub's Markdown."""
    head = [
        f"# Run {record.run} on {record.bench}, {record.started}",
        "",
        "| host | verdict | why | evidence | next | host was |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_row, record.hosts), "", *_leftovers(record), *map(_ladder, record.hosts)])


def _row(host: HostRecord) -> str:
    verdict = host.verdict
    evidence = "; ".join([verdict.sentence, *(f"contradiction: {words}" for words in verdict.contradictions)])
    cells = (host.name, verdict.outcome.value, verdict.reason.value, evidence, verdict.remedy or "", host.state.value)
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(words: str) -> str:
    flat = " ".join(words.split()).replace("\\", "\\\\")
    for special in "|`*_<[":
        flat = flat.replace(special, "\\" + special)
    return flat


def _leftovers(record: RunRecord) -> list[str]:
    if not record.leftovers:
        return []
    return [f"**Still running:** {_cell(text.left_running(record))}; remove with `ptp-harness sweep --yes`", ""]


def _ladder(host: HostRecord) -> str:
    """Indented, not fenced: no text of a host can end the block."""
    lines = "\n".join(f"    {line}" for line in text.ladder(host).splitlines())
    return f"<details><summary>{html.escape(host.name)}</summary>\n\n{lines}\n\n</details>\n"
