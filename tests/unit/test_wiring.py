"""Every bench that a campaign may name can be built, and is named where people look for the list."""

import re
from pathlib import Path

import pytest

from harness import wiring
from harness.model.bench_traits import BenchName
from harness.system import settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", BenchName)
def test_every_bench_can_be_built(name: BenchName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PTP_HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    assert wiring.bench(name, settings.load(), inventory="hosts.yaml").name == name


@pytest.mark.parametrize(
    ("page", "row"), [("CONTRIBUTING.md", "| bench |"), ("docs/troubleshooting.md", "| there is no bench NAME |")]
)
def test_the_pages_that_list_the_benches_name_each(page: str, row: str) -> None:
    line = next(line for line in (ROOT / page).read_text().splitlines() if line.startswith(row))
    assert [name for name in BenchName if not re.search(rf"\b{name}\b", line.removeprefix(row))] == []
