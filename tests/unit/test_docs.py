"""The documentation is true: links lead somewhere, commands parse, and every refusal that there is has its entry."""

import ast
import importlib
import pkgutil
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import harness
from harness import errors, units
from harness.benches.lab.truths.truths import TRUTHS
from harness.campaign import campaign
from harness.cli import report
from harness.errors import ExitCode, HarnessError
from harness.ladder import OUTCOMES
from harness.model import Reason, RungName
from harness.report.formats import Format

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("lab/*/*.md")])
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be linked by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, fragment = target.partition("#")
        if not re.match(r"https?:", target):
            there = (page.parent / file).resolve() if file else page
            assert there.exists(), target
            assert not fragment or fragment in anchors(there), target


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"]
    assert [name for name in pages if f"]({name})" not in index] == []


def in_navigation(entry: object) -> Iterator[str]:
    """The pages of an entry of the site's navigation."""
    if isinstance(entry, str):
        yield entry
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from in_navigation(inner)


def test_the_site_s_navigation_has_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(in_navigation(site["nav"])) == sorted([*map(named, PAGES), "requirements/README.md"])


def commands(page: Path) -> Iterator[str]:
    """The command lines of ours in a page's code blocks, and between backticks in its text."""
    text = page.read_text()
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", "").splitlines()  # a line that ends with a backslash goes on in the next one
        yield from (line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?ptp-harness ", line))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`(ptp-harness [^`]+)`", prose)


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=named)
def test_every_command_in_a_page_parses(page: Path, parsed: Callable[[str], None]) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if not set(words) & {"...", "COMMAND"}:
            parsed(line)


# --- troubleshooting ------------------------------------------------------------------------------------------------


def entry(title: str) -> str:
    """What stands below a heading of the third level; fails where there is none."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", TROUBLE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/troubleshooting.md has no entry {title!r}"
    return found[1]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_entry(reason: Reason) -> None:
    told = entry(f"`{reason}`")
    assert OUTCOMES[reason] in told
    for name in re.findall(r"ptp-harness run (lab\.[\w-]+)", told):
        assert TRUTHS[name].demand.reason is reason, f"{name} is no example of {reason}"


def test_pipelines_md_says_what_each_form_of_report_holds() -> None:
    section = (ROOT / "docs" / "pipelines.md").read_text().partition("## What the forms hold")[2].partition("\n## ")[0]
    assert {name.lower() for name in re.findall(r"^- \*\*(\w+)\*\*: ", section, re.MULTILINE)} == set(Format)


def test_the_help_of_report_names_each_form() -> None:
    assert [form for form in Format if form not in str(report.report.__doc__)] == []


NO_FAILURES = {
    Reason.NOT_OBSERVED, Reason.INTERRUPTED, Reason.HARNESS_ERROR, Reason.HOST_NOT_READY, Reason.PACKAGES_UNAVAILABLE,
}  # fmt: skip
"""Reasons for which no rung fails: the rung was not observed."""


def test_the_table_in_verdicts_md_has_every_rung_in_order(rung_rows: list[tuple[str, str, str]]) -> None:
    assert list(dict.fromkeys(rung for rung, _, _ in rung_rows)) == list(RungName)


def test_the_table_in_verdicts_md_has_every_reason_with_its_outcome(rung_rows: list[tuple[str, str, str]]) -> None:
    rows = reversed(rung_rows)  # so that the first row of a reason counts
    outcomes = {reason: outcome for _, reasons, outcome in rows for reason in re.findall("`(.+?)`", reasons)}
    assert outcomes == {reason: OUTCOMES[reason] for reason in Reason if reason not in NO_FAILURES}


def family(kind: type[HarnessError] = HarnessError) -> Iterator[type[HarnessError]]:
    for child in kind.__subclasses__():
        yield child
        yield from family(child)


def test_every_kind_of_error_has_its_entry() -> None:
    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        if "_assets" not in module.name and not module.name.startswith(
            ("harness.__main__", "harness.store.migrations")
        ):
            importlib.import_module(module.name)
    ours = [kind.__name__ for kind in family() if kind.__module__.startswith("harness")]
    assert {"RequestError", "CapacityError", "FatalError"} <= set(ours)
    assert [name for name in ours if f"`{name}`" not in TROUBLE] == []


def test_every_exit_code_has_its_entry() -> None:
    assert [int(code) for code in ExitCode if not re.search(rf"^\| {int(code)} \| \S", TROUBLE, re.MULTILINE)] == []


def fragments(source: str) -> list[str]:
    """The longest fixed part of each message with which an error of the family is made."""
    kinds = {kind.__name__ for kind in family()}
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args):
            continue
        message = node.args[0]
        parts = message.values if isinstance(message, ast.JoinedStr) else [message]
        fixed = [part.value.strip(" ;:,(") for part in parts if isinstance(part, ast.Constant)]
        found += [max(fixed, key=len)] if fixed else []
    return [words for words in found if len(words) > 4]


def test_the_fixed_part_of_a_message_is_found() -> None:
    assert fragments("raise RequestError(f'run {run} has no host {host!r}', next_step='x')") == ["has no host"]
    assert fragments("raise ValueError('a mistake of ours')") == []


@pytest.mark.parametrize("path", sorted((ROOT / "harness").rglob("*.py")), ids=named)
def test_every_message_has_its_entry(path: Path) -> None:
    if path == Path(errors.__file__):
        return
    flat = " ".join(TROUBLE.split())
    assert [words for words in fragments(path.read_text()) if " ".join(words.split()) not in flat] == []


RECIPE_NAME = re.compile(r"`(_?[A-Za-z]\w+)`[^`(]{0,30}\(`([\w/]+\.py)`")


def test_the_names_in_the_recipes_are_in_the_files_that_they_name() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().partition("## Recipes")[2].split())
    pairs = RECIPE_NAME.findall(text)
    assert len(pairs) >= 8
    found = {}
    for name, path in pairs:
        file = next(file for file in (ROOT / "harness" / path, ROOT / path) if file.is_file())
        found[name, path] = re.search(rf"\b{name}", file.read_text()) is not None
    assert [pair for pair, there in found.items() if not there] == []


def test_each_recipe_names_its_tests_and_they_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Recipes")[2].partition("\n## ")[0]
    recipes = re.findall(r"^\*\*(A[^*]+)\.\*\*(.*?)(?=^\*\*|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert len(recipes) >= 8
    named_tests = {name: re.findall(r"`(tests/[\w/.]+)`", recipe) for name, recipe in recipes}
    assert [name for name, paths in named_tests.items() if not paths] == []
    assert [path for paths in named_tests.values() for path in paths if not (ROOT / path).exists()] == []


def test_the_example_of_a_report_is_of_the_campaign_that_the_page_names() -> None:
    page = (ROOT / "docs" / "example-report.html").read_text()
    text = (ROOT / "examples" / "lab-clocks.yaml").read_text()
    requested = campaign.from_yaml(text, where="lab-clocks.yaml")
    assert re.findall(r'id="host-\d+"[^>]*><h3>([^ ]+) ', page) == list(requested.instance_types)
    assert f"measured for {units.duration(requested.measure_duration_s)}" in page
    assert re.findall(r"/(?:root|home|tmp|work)/\S+", page) == [], "nothing of the machine that made it"
