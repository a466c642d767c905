"""Write the report as Markdown, for a page or a pull request: a table of verdicts, then each host's ladder, folded."""

import html
import re

from harness.model import HostRecord, RunRecord
from harness.report import text
from harness.untrusted.plain_text import printable


def report(record: RunRecord) -> str:
    """Write the run as GitHub's Markdown."""
    head = [
        f"# Run {_inline(record.run)} on {_inline(record.bench)}, {_inline(record.started)}",
        "",
        "| host | verdict | why | evidence | next | host was |",
        "|---|---|---|---|---|---|",
    ]
    rows = [_row(host, record.bench) for host in record.hosts]
    ladders = [_ladder(host, record.bench) for host in record.hosts]
    return "\n".join([*head, *rows, "", *_leftovers(record), *ladders])


def _row(host: HostRecord, bench: str) -> str:
    verdict = host.verdict
    evidence = "; ".join(
        [verdict.sentence, *(f"contradiction: {contradiction}" for contradiction in verdict.contradictions)]
    )
    state = text.state_title(host.state, bench)
    cells = (host.name, verdict.outcome.value, verdict.reason.value, evidence, verdict.remedy or "", state)
    return f"| {' | '.join(map(_inline, cells))} |"


def _inline(text: str) -> str:
    """Escape a text to one line that shows it literally: no markup, link, mention or reference.

    GitHub looks for links, mentions and references in each text node of the rendered page, in which an entity is a
    character again. An element around one character splits the text node.
    """
    flat = " ".join(printable(text).split()).replace("\\", "\\\\")
    for special in "&<>|`*_[]~":
        flat = flat.replace(special, "\\" + special)
    return _LINKED.sub(lambda match: f"<span>{match[0]}</span>", flat)


_LINKED = re.compile(r"@|:(?=//)|(?i:(?<=www))\.|#(?=[0-9])|(?i:(?<=gh))-(?=[0-9])|(?i:(?<=mailto)|(?<=xmpp)):")
"""Characters that occur in every address, bare link (GitHub Flavored Markdown, 6.9), mention and reference."""


def _leftovers(record: RunRecord) -> list[str]:
    if not record.leftovers:
        return []
    return [f"**Still running:** {_inline(text.left_running(record))}; remove with `ptp-harness sweep --yes`", ""]


def _ladder(host: HostRecord, bench: str) -> str:
    """Write a host's ladder as an indented block, which no text of a host can end; it could end a fenced block."""
    lines = "\n".join(f"    {line}" for line in text.ladder(host, bench=bench).splitlines())
    return f"<details><summary>{_summary(host.name)}</summary>\n\n{lines}\n\n</details>\n"


def _summary(name: str) -> str:
    """Escape a name for the text of an HTML element, where Markdown has no effect."""
    return _LINKED.sub(lambda match: f"<span>{match[0]}</span>", html.escape(printable(name)))
