"""Write a whole HTML document around its content: its policy, its style, and nothing that is loaded or run."""

from harness.report.html.markup import element
from harness.report.html.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Keeps a browser from loading or running anything, whatever the page holds."""


def write_document(title: str, *content: str) -> str:
    """Write a document with a title and the content of its main part; its last line ends with a newline."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"{element('title', title)}<style>{STYLE}</style>"
    )
    body = element("main", *content)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
