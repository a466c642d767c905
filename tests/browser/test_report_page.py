"""A browser shows the HTML pages without a complaint, without loading anything, and without scrolling sideways."""

import html
import json
import re
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.programs

Browse = Callable[..., tuple[str, list[str]]]


def framed(content: str, width: int) -> str:
    """A page that shows another one in a frame of this width, and has as its title how wide that one wants to be.

    A window of a browser has a least width, which is more than that of a phone.
    """
    measure = "document.title = frame.contentDocument.documentElement.scrollWidth"
    return (
        f'<!DOCTYPE html><title></title><iframe id="frame" width="{width}" height="900" style="border: 0" '
        f'srcdoc="{html.escape(content)}"></iframe><script>frame.onload = () => {{ {measure} }}</script>'
    )


def test_the_page_loads_nothing_and_the_console_stays_empty(browse: Browse, page: str) -> None:
    """The page's own policy forbids all that it might load, so that an attempt is an error in the console."""
    shown, console = browse(page)
    assert console == []
    assert shown.count("<svg") == page.count("<svg") > 20


def test_the_page_of_a_comparison_does_so_too(browse: Browse, comparison_page: str) -> None:
    shown, console = browse(comparison_page)
    assert console == []
    assert shown.count("<svg") == comparison_page.count("<svg") == 2


def test_an_attempt_to_load_something_would_be_noticed(browse: Browse, page: str) -> None:
    for attempt in ('<img src="http://127.0.0.1:9/x.png">', "<script>1</script>"):
        _, console = browse(page.replace("</main>", f"{attempt}</main>"))
        assert "Content Security Policy" in json.dumps(console)


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_scrolls_sideways(browse: Browse, page: str, comparison_page: str, width: int) -> None:
    for content in (page, comparison_page):
        shown, _ = browse(framed(content, width))
        wanted = re.search(r"<title>(\d+)</title>", shown)
        assert wanted is not None
        assert int(wanted[1]) <= width


def test_a_page_that_scrolls_sideways_would_be_noticed(browse: Browse, page: str) -> None:
    shown, _ = browse(framed(page.replace("<main>", '<main><table class="n"><td>' + "x" * 500), 390))
    assert int(re.findall(r"<title>(\d+)</title>", shown)[0]) > 390
