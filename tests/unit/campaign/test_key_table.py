"""Every key of the campaign file is explained: in the schema, on the page that lists the keys, and in examples."""

import re
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml

from harness.campaign import key_table
from harness.campaign.campaign import from_yaml
from harness.campaign.campaign_file import json_schema
from harness.campaign.file_schema import find
from harness.campaign.key_meanings import MEANINGS
from harness.system.profile_files import read_profile

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "campaign-file.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")])


def test_every_key_has_a_meaning_and_every_meaning_a_key() -> None:
    assert {row.path for row in key_table.list_keys()} == MEANINGS.keys()
    assert all(MEANINGS[path].strip() for path in MEANINGS)


def test_every_key_of_the_schema_has_its_meaning_as_description() -> None:
    schema = json_schema()
    for path, meaning in MEANINGS.items():
        assert (find(path, schema) or {})["description"] == meaning


def test_every_default_in_the_schema_is_a_value_that_the_schema_takes() -> None:
    schema = json_schema()
    for path in MEANINGS:
        node = find(path, schema) or {}
        if "default" in node:
            jsonschema.validate(node["default"], {**node, "$defs": schema["$defs"]})


@pytest.mark.parametrize("group", key_table.group_keys(key_table.list_keys()))
def test_the_page_has_the_table_of_every_group(group: str) -> None:
    table = key_table.markdown(key_table.group_keys(key_table.list_keys())[group])
    hint = "`ptp-harness campaign keys --markdown` prints the tables of docs/campaign-file.md"
    assert [line for line in table.splitlines() if line not in PAGE.splitlines()] == [], hint
    assert table in PAGE, hint


def test_the_page_names_no_key_that_there_is_not() -> None:
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", PAGE, re.MULTILINE)) == {row.key for row in key_table.list_keys()}


# --- the examples, as an editor reads them ---------------------------------------------------------------------------


class Yaml12(yaml.SafeLoader):
    """A loader with the core schema of YAML 1.2 (chapter 10.3), which editors use, in place of YAML 1.1's types."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for tag, pattern in {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
}.items():
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), None)


def campaigns(page: Path) -> list[str]:
    """The campaigns among a page's blocks of YAML."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if re.search(r"^(instance_types|select):", block, re.MULTILINE)]


EXAMPLES = [(page, text) for page in PAGES for text in campaigns(page)]


def test_the_pages_have_examples() -> None:
    assert {page.name for page, _ in EXAMPLES} >= {"getting-started.md", "ec2.md", "ec2-types.md", "campaign-file.md"}


@pytest.mark.parametrize(("page", "text"), EXAMPLES, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_an_example_is_valid_for_the_command_and_in_an_editor(page: Path, text: str) -> None:
    from_yaml(text, where=page.name, read_profile=read_profile)
    jsonschema.validate(yaml.load(text, Yaml12), json_schema())
    assert yaml.load(text, Yaml12) == yaml.safe_load(text)


def test_the_editor_s_loader_reads_a_number_with_underscores_as_text() -> None:
    assert yaml.load("{a: 500_000, b: 500, c: yes, d: true, e: 0.5, f: }", Yaml12) == {
        "a": "500_000", "b": 500, "c": "yes", "d": True, "e": 0.5, "f": None,
    }  # fmt: skip
