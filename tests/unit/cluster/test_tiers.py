"""The suites of this project's tests are found by folders and marks: each file is in one, and names fit labels."""

import re
from collections import Counter
from pathlib import Path

import pytest

from harness.cluster.suites import SuiteKind
from harness.cluster.tiers import SLOW_MARKS, find_suites, make_mark_expression
from harness.errors import RequestError

ROOT = Path(__file__).parents[3]
FILES = {
    "unit/test_plain.py": "import pytest\n",
    "unit/cli/test_one.py": "import pytest\n@pytest.mark.slow\ndef test_a() -> None: ...\n",
    "unit/cli/deep/test_two.py": "",
    "lab/test_guests.py": 'import pytest\npytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]\n',
    "lab/test_quiet.py": 'import pytest\n@pytest.mark.xdist_group("quiet")\ndef test_a() -> None: ...\n',
    "lab/test_rare.py": "import pytest\npytestmark = [pytest.mark.lab, pytest.mark.truth]\n",
    "lab/test_one_is_rare.py": "import pytest\n@pytest.mark.truth\ndef test_a() -> None: ...\n",
    "big_one/test_breaks.py": "import pytest\npytestmark = pytest.mark.destructive\n",
    "big_one/conftest.py": "import pytest\n",
    "data/report.py": "",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def list_files(source: Path, *tiers: str, include_slow: bool = False, include_destructive: bool = False):  # type: ignore[no-untyped-def]
    found = find_suites(source, tiers, include_slow=include_slow, include_destructive=include_destructive)
    return {suite.name: (suite.kind.value, [Path(file).name for file in suite.files]) for suite in found}


def test_folders_and_marks_make_suites(source: Path) -> None:
    assert list_files(source) == {
        "lab": ("shared", ["test_one_is_rare.py"]),
        "lab-guests": ("guests", ["test_guests.py"]),
        "lab-quiet": ("quiet", ["test_quiet.py"]),
        "unit": ("shared", ["test_plain.py"]),
        "unit-cli": ("shared", ["test_two.py", "test_one.py"]),
    }


def test_slow_and_destructive_tests_are_asked_for(source: Path) -> None:
    assert list_files(source, "lab", include_slow=True)["lab"][1] == ["test_one_is_rare.py", "test_rare.py"]
    assert "big-one-destructive" not in list_files(source, include_slow=True)
    (suite,) = find_suites(source, ["big_one"], include_destructive=True)
    assert (suite.name, suite.destructive, suite.kind) == ("big-one-destructive", True, SuiteKind.SHARED)
    assert make_mark_expression(include_slow=False) == "not truth and not real_driver"
    assert make_mark_expression(include_slow=True) == ""


@pytest.mark.parametrize("wanted", ["unit", "unit/", "tests/unit"])
def test_a_tier_means_all_below_it(source: Path, wanted: str) -> None:
    assert {*list_files(source, wanted)} == {"unit", "unit-cli"}
    assert {*list_files(source, "unit/cli", "lab-quiet")} == {"unit-cli", "lab-quiet"}


def test_bad_requests(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no tier of tests 'unti' \(did you mean unit\?\)") as refused:
        find_suites(source, ["unti"])
    assert refused.value.next_step == "tiers: lab, unit"
    with pytest.raises(RequestError, match="there are no tests in"):
        find_suites(tmp_path / "nowhere")


def test_each_test_of_this_project_is_in_one_suite() -> None:
    """Also the tests of `make truth`; and a run of all suites runs at least two at once."""
    suites = find_suites(ROOT, include_slow=True, include_destructive=True)
    files = Counter(file for suite in suites for file in suite.files)
    assert {*files.values()} == {1}
    assert {*files} == {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    names = [suite.name for suite in suites]
    assert len({*names}) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name)] == []
    assert {suite.kind for suite in suites} >= {SuiteKind.SHARED, SuiteKind.GUESTS, SuiteKind.QUIET}
    markers = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{mark}: ' in markers for mark in (*SLOW_MARKS, "destructive"))
