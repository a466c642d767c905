"""The search for changes that no test notices: its explanations fit the code, and a change is tried as it is named."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPLAINED = tomllib.loads((ROOT / "tools" / "mutants" / "explained.toml").read_text())["mutant"]

CODE = '''\
"""Say whether a value is within a limit."""

LIMIT = 5
LIMITS = {"ns": LIMIT}


class Value:
    @property
    def small(self) -> bool:
        return within(self.value)


def within(value: int) -> bool:
    if value < 0:
        raise ValueError("no value is below 0")
    return value <= LIMITS["ns"]
'''


@pytest.mark.parametrize("entry", EXPLAINED, ids=lambda entry: entry["was"][:60])
def test_each_explanation_has_a_reason_and_is_about_a_line_of_its_file(entry: dict[str, str]) -> None:
    text = " ".join(line.strip() for line in (ROOT / entry["file"]).read_text().splitlines())
    assert entry["was"] in text
    assert entry["reason"].endswith(".")
    assert entry["becomes"]
    assert entry["was"] not in entry["becomes"]


def test_changes_of_functions_properties_and_constants_are_made_and_texts_for_people_stay(tmp_path: Path) -> None:
    pytest.importorskip("mutmut", reason="`make mutants` installs mutmut")
    from tools.mutants.changes import make_mutants

    (tmp_path / "limits.py").write_text(CODE)
    mutants = {(mutant.function, mutant.line, mutant.becomes) for mutant in make_mutants(tmp_path, "limits.py")}
    assert {
        (None, 3, "LIMIT = 6"),
        (None, 4, 'LIMITS = {"XXnsXX": LIMIT}'),
        ("Value.small", 10, "return within(None)"),
        ("within", 14, "if value <= 0:"),
        ("within", 14, "if value < 1:"),
        ("within", 16, 'return value < LIMITS["ns"]'),
    } <= mutants
    assert not any("below" in becomes for _, _, becomes in mutants)
