"""The report as Markdown, for a page or a pull request: the table of verdicts, then each host's ladder, folded."""

import html
import re

from harness.model import HostRecord, RunRecord
from harness.report import text
from harness.untrusted.plain_text import printable


def report(record: RunRecord) -> str:
    """The run as GitHub's Markdown."""
    head = [
        f"# Run {_inline(record.run)} on {_inline(record.bench)}, {_inline(record.started)}",
        "",
        "| host | verdict | why | evidence | next | host was |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_row, record.hosts), "", *_leftovers(record), *map(_ladder, record.hosts)])


def _row(host: HostRecord) -> str:
    verdict = host.verdict
    evidence = "; ".join([verdict.sentence, *(f"contradiction: {words}" for words in verdict.contradictions)])
    cells = (host.name, verdict.outcome.value, verdict.reason.value, evidence, verdict.remedy or "", host.state.value)
    return f"| {' | '.join(map(_inline, cells))} |"


def _inline(words: str) -> str:
    """A text as it stands, in one line: no markup, and nothing in it becomes a link, a mention or a reference.

    GitHub looks for those in each piece of text of the page that it has made, where an entity is a character again. An
    element around one character parts the piece.
    """
    flat = " ".join(printable(words).split()).replace("\\", "\\\\")
    for special in "&<>|`*_[]~":
        flat = flat.replace(special, "\\" + special)
    return _LINKED.sub(lambda found: f"<span>{found[0]}</span>", flat)


_LINKED = re.compile(r"@|:(?=//)|(?i:(?<=www))\.|#(?=[0-9])|(?i:(?<=gh))-(?=[0-9])|(?i:(?<=mailto)|(?<=xmpp)):")
"""What addresses, bare links (GitHub Flavored Markdown, 6.9), mentions and references have in them."""


def _leftovers(record: RunRecord) -> list[str]:
    if not record.leftovers:
        return []
    return [f"**Still running:** {_inline(text.left_running(record))}; remove with `ptp-harness sweep --yes`", ""]


def _ladder(host: HostRecord) -> str:
    """Indented, not fenced: no text of a host can end the block."""
    lines = "\n".join(f"    {line}" for line in text.ladder(host).splitlines())
    return f"<details><summary>{_summary(host.name)}</summary>\n\n{lines}\n\n</details>\n"


def _summary(name: str) -> str:
    """Within an element of HTML, where no Markdown is."""
    return _LINKED.sub(lambda found: f"<span>{found[0]}</span>", html.escape(printable(name)))
