"""`samples` writes a host's samples as CSV and as Parquet, with the values of its readings."""

import csv
import io
import shutil
from pathlib import Path

import pytest
from pyarrow import parquet

from harness.probes.samples import read_samples
from harness.report import sample_table
from harness.store.ledger import Ledger
from tests.unit.cli.conftest import EARLIER, Call


@pytest.fixture
def evidence(ledger: Ledger, tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "runs" / "3a5r"
    shutil.copytree(EARLIER.parent / "runs" / "3a5r", folder)
    return folder


def test_each_sample_is_a_row_of_csv(call: Call, evidence: Path) -> None:
    done = call("samples", "3a5r", "lab.drifting")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    taken, _, _ = read_samples((evidence / "lab.drifting" / "samples.jsonl").read_text(), where="s")
    assert len(rows) == len(taken) == 60
    assert list(rows[0]) == list(sample_table.COLUMNS)
    for row, sample in zip(rows, taken, strict=True):
        assert sample.reads is not None
        fastest = min(sample.reads, key=lambda read: read.after_ns - read.before_ns)
        assert int(row["offset_ns"]) == (fastest.before_ns + fastest.after_ns) // 2 - fastest.phc_ns
        assert int(row["read_delay_ns"]) == fastest.after_ns - fastest.before_ns
        assert (int(row["utc_ns"]), row["source"], row["device_bound_ns"]) == (sample.utc_ns, "PHC0", "")


def test_parquet_holds_the_same_with_types(call: Call, evidence: Path, tmp_path: Path) -> None:
    assert call("samples", "3a5r", "lab.drifting", "-o", "s.parquet").returncode == 0
    table = parquet.read_table(tmp_path / "s.parquet")
    assert {field.name: str(field.type) for field in table.schema} == sample_table.COLUMNS
    rows = list(csv.DictReader(io.StringIO(call("samples", "3a5r", "lab.drifting").stdout)))
    assert [str(value) for value in table["offset_ns"].to_pylist()] == [row["offset_ns"] for row in rows]
    assert table["device_bound_ns"].null_count == 60


def test_without_pyarrow_it_is_said_how_to_get_it(
    call: Call, evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    done = call("samples", "3a5r", "lab.drifting", "-o", "s.parquet")
    assert (done.returncode, (tmp_path / "s.parquet").exists()) == (2, False)
    assert "Parquet needs the package pyarrow" in done.stderr
    assert "pip install 'ptp-harness[parquet]'" in done.stderr


def test_a_file_is_written_whole(call: Call, evidence: Path, tmp_path: Path) -> None:
    assert call("samples", "3a5r", "lab.drifting", "-o", "s.csv").returncode == 0
    assert (tmp_path / "s.csv").read_text() == call("samples", "3a5r", "lab.drifting").stdout.replace("\r\n", "\r\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["3a5r", "lab.none"], "run 3a5r has no host 'lab.none'"),
        (["3a5r", "lab.no-phc"], "lab.no-phc of run 3a5r has no samples: it was not measured"),
        (["3a5r", "lab.drifting", "--rebooted"], "has no samples after a reboot"),
        (["3a5r", "lab.drifting", "--disturbed"], "has no samples of a disturbed clock"),
        (["3a5r", "lab.drifting", "--disturbed", "--rebooted"], "--disturbed and --rebooted are two tables"),
        (["3a5r", "lab.phc"], "is missing"),
        (["3a5r", "lab.drifting", "-o", "nowhere/s.csv"], "there is no folder nowhere for s.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_written_is_refused(call: Call, evidence: Path, words: list[str], message: str) -> None:
    done = call("samples", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_text_that_a_spreadsheet_would_run_is_no_formula() -> None:
    text = sample_table.write_csv([dict.fromkeys(sample_table.COLUMNS) | {"source": "=cmd|' /C calc'!A0"}])
    assert "'=cmd" in text
