"""A page of HTML as a browser reads it, held against the rules that every page follows; and hostile texts for it."""

import dataclasses
import enum
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from harness.untrusted.plain_text import printable

VOID = {"meta"}
OPTIONAL_END = {"td", "th", "tr", "thead", "tbody"}
"""Elements whose end tags the page leaves out, as HTML allows."""


class Page(HTMLParser):
    """A parsed page: elements with attributes, texts, and the errors of nesting."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.source = page
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.errors += [f"{tag} is not closed" for tag in self._open if tag not in OPTIONAL_END]

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.errors.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open[-1] != tag and self._open[-1] in OPTIONAL_END:
            self._open.pop()
        if not self._open or self._open.pop() != tag:
            self.errors.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def handle_comment(self, data: str) -> None:
        self.errors.append(f"a comment: {data}")

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(data for tag, data in self.texts if tag != "style").split())


ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "h3", "h4", "p", "ul",
    "li", "div", "table", "thead", "tbody", "tr", "th", "td", "span", "strong", "b", "small", "a", "figure",
    "figcaption", "details", "summary", "svg", "desc", "g", "path", "text", "rect", "circle",
}  # fmt: skip
"""All elements of the page: none of them loads or runs anything."""


def parse_page(page: str) -> Page:
    """Parse a page and hold it against the rules that every page follows."""
    found = Page(page)
    assert found.errors == []
    assert {tag for tag, _ in found.elements} <= ELEMENTS
    attributes = [attribute for _, all_attributes in found.elements for attribute in all_attributes.items()]
    assert {name for name, _ in attributes if name.startswith("on") or name in ("src", "srcset", "style")} == set()
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for name, value in attributes if name == "href"} <= {f"#{name}" for name in ids}
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(cell.get("scope") in ("row", "col") for cell in found.all("th"))
    assert all(box.get("tabindex") == "0" and box.get("aria-label") for box in found.all("div") if "role" in box
               and box["class"] == "scroll")  # fmt: skip
    plots = found.count("svg")
    assert found.count("desc") == found.count("figure") == found.count("figcaption") == plots
    assert found.count("details") == plots + [data for _, data in found.texts].count("Held against standards")
    assert all(plot["role"] == "img" for plot in found.all("svg"))
    style = "".join(data for tag, data in found.texts if tag == "style")
    assert not re.search(r"url\(|@import|http", style)
    drawn = " ".join(
        value or "" for tag, all_values in found.elements if tag in ("path", "text", "rect", "circle", "svg")
        for name, value in all_values.items() if name not in ("class", "stroke", "fill", "role")
    )  # fmt: skip
    assert not re.search(r"nan|inf|\de[+-]?\d", drawn, re.IGNORECASE)
    assert page == printable(page)
    return found


HOSTILE = (
    "</td></style></svg><script src=//x>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' &lt; "
    "http://x.example/ url(x) \x1b]52;c;x\x07 \u202e \ud800 <!-- ]]>"
)


def spoil(value: Any) -> Any:
    """The same plain data with hostile text at the end of every text in it."""
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value + HOSTILE
    if isinstance(value, tuple):
        return tuple(map(spoil, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {field.name: spoil(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value
