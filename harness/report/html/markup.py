"""Write HTML such that no text becomes markup: whatever is not `Markup` already is escaped."""

import html
from collections.abc import Iterable, Sequence
from functools import partial

from harness.untrusted.plain_text import printable


class Markup(str):
    """A piece of HTML, complete and escaped. A concatenation with other text is text again, and is escaped."""

    __slots__ = ()


EMPTY = Markup()

NUMBERS = "numbers"
"""The class of a long table of numbers alone."""


def escape(text: str) -> Markup:
    """Escape a text for an element or a quoted attribute; `Markup` is returned as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text)))


def join(parts: Iterable[str], separator: str = "") -> Markup:
    """Join pieces of HTML, and texts, which are escaped."""
    return Markup(separator.join(map(escape, parts)))


def element(tag: str, *content: str, **attributes: str | None) -> Markup:
    """Write an element. `class_` writes the attribute class; an attribute that is None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{join(content)}</{tag}>")


def items(texts: Iterable[str]) -> Markup:
    """Write a list of texts; nothing where there is none."""
    lines = [element("li", text) for text in texts]
    return element("ul", *lines) if lines else EMPTY


def table(
    label: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = (), class_: str = ""
) -> Markup:
    """Write a table in a box of its own that scrolls where the table is wide, also by keys.

    The first cell of a row is its header, except in a table of numbers alone, the class `numbers`. `numeric`: the
    columns that hold numbers, from 0 on. The end tags of rows and cells are left out, as HTML allows: large tables are
    a third smaller.
    """
    columns = {*numeric}
    classes = [' class="n"' if number in columns else "" for number in range(len(head))]
    titles = "".join(f'<th scope="col"{kind}>{escape(title)}' for title, kind in zip(head, classes, strict=True))
    write = _number_row if class_ == NUMBERS else partial(_row, classes)
    lines = "".join(map(write, rows))
    kind = f' class="{class_}"' if class_ else ""
    return Markup(
        f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(label)}">'
        f"<table{kind}><thead><tr>{titles}</thead><tbody>{lines}</tbody></table></div>"
    )


def folded(title: str, *content: str) -> Markup:
    """Write content that is folded until it is asked for."""
    return Markup(f"<details><summary>{escape(title)}</summary>{join(content)}</details>")


def _number_row(cells: Sequence[str]) -> str:
    return f"<tr><td>{join(cells, '<td>')}\n"


def _row(classes: Sequence[str], cells: Sequence[str]) -> str:
    first, *others = zip(cells, classes, strict=True)
    rest = "".join(f"<td{kind}>{escape(cell)}" for cell, kind in others)
    return f'<tr><th scope="row"{first[1]}>{escape(first[0])}{rest}\n'
