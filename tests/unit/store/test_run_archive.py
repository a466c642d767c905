"""A run moves from one ledger to another with its evidence; what was cut or changed on its way changes nothing."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.quality import compute_quality
from harness.errors import RequestError, SetupError
from harness.model import Evidence, RunRecord, Stage
from harness.store import run_archive
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from tests.unit.store.test_ledger import host


@pytest.fixture
def source(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/source/ledger.sqlite")


@pytest.fixture
def run(source: Ledger, tmp_path: Path) -> str:
    """An ended run with a host, its step, and evidence in two folders."""
    run = source.open_run(bench="lab", campaign={"image": "al2023"}, hosts={"a": "lab.phc"})
    token = source.own_host(run, "a").token
    source.end_step(source.begin_step(token, Stage.PROVISION), "done")
    source.record_state(token, host("a"))
    hosts = (host("a"),)
    source.close_run(
        RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=hosts, leftovers=())
    )
    folder = EvidenceFolder.create(tmp_path / "source" / "runs" / run)
    folder.write("report.json", "{}")
    folder.host("a").write("facts.json", b"\0\xff" * 3000)
    folder.write_checksums()
    return run


@pytest.fixture
def archive(source: Ledger, run: str, tmp_path: Path) -> Path:
    file = tmp_path / f"{run}.tar.gz"
    assert run_archive.export_run(run, source, tmp_path / "source/runs" / run, file) == 3
    return file


@pytest.fixture
def refused(ledger: Ledger, tmp_path: Path) -> Callable[[Path, str], None]:
    """Holds that the import is refused with these words, and that nothing is left of it."""

    def refuse(file: Path, words: str) -> None:
        before = [line.run for line in ledger.runs()]
        with pytest.raises(RequestError, match=words):
            run_archive.import_run(file, ledger, tmp_path / "runs")
        assert [line.run for line in ledger.runs()] == before
        assert [path.name for path in (tmp_path / "runs").iterdir()] == before

    return refuse


def test_a_run_comes_whole(source: Ledger, ledger: Ledger, run: str, archive: Path, tmp_path: Path) -> None:
    done = run_archive.import_run(archive, ledger, tmp_path / "runs")
    assert (done.run, done.hosts, done.files) == (run, 1, 3)
    assert ledger.record(run) == source.record(run)
    assert ledger.hosts(run) == source.hosts(run)
    assert ledger.steps(run) == source.steps(run)
    assert ledger.campaign(run) == source.campaign(run)
    assert ledger.find(run).started_ns == source.find(run).started_ns
    assert EvidenceFolder(tmp_path / "runs" / run).list_changed() == []
    assert (tmp_path / "runs" / run / "a/facts.json").read_bytes() == b"\0\xff" * 3000


def test_a_run_of_an_earlier_revision_gets_what_its_rows_lack(
    source: Ledger, ledger: Ledger, run: str, good: Evidence, tmp_path: Path
) -> None:
    """Its rows have no columns of figures: they come from the record."""
    measured = replace(host("a"), quality=compute_quality(good, interval_s=1.0))
    source.record_state(source.own_host(run, "a").token, measured)
    file = tmp_path / "earlier.tar.gz"
    run_archive.export_run(run, source, tmp_path / "source/runs" / run, file)
    (row,) = json.loads(members(file)["run.json"])["hosts"]
    lacking = {name: value for name, value in row.items() if name not in ("offset_p99_ns", "bound_p99_ns")}
    run_archive.import_run(with_rows(file, {"revision": "0003", "hosts": [lacking]}), ledger, tmp_path / "runs")
    (summary,) = ledger.host_summaries([run])
    assert (summary.offset_p99_ns, summary.bound_p99_ns) == (row["offset_p99_ns"], row["bound_p99_ns"])
    assert summary.offset_p99_ns == 50.0


def test_a_run_that_is_there_is_not_written_over(
    ledger: Ledger, archive: Path, run: str, refused: Callable[[Path, str], None], tmp_path: Path
) -> None:
    run_archive.import_run(archive, ledger, tmp_path / "runs")
    refused(archive, f"run {run} is in this ledger already")


def test_evidence_that_is_there_is_not_written_over(ledger: Ledger, archive: Path, run: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / run).mkdir(parents=True)
    with pytest.raises(RequestError, match=f"there is evidence of a run {run}"):
        run_archive.import_run(archive, ledger, tmp_path / "runs")
    assert ledger.runs() == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_changes_nothing(
    archive: Path, refused: Callable[[Path, str], None], share: float
) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    refused(archive, "cannot be read as an export of a run|is cut: its checksums are missing")


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as file:
        return {entry.name: file.extractfile(entry).read() for entry in file}  # type: ignore[union-attr]


def rewrite(archive: Path, content: dict[str, bytes], *, link: str | None = None) -> None:
    with gzip.open(archive, "wb") as zipped, tarfile.open(fileobj=zipped, mode="w") as file:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
        if link is not None:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(entry)


def test_a_changed_a_missing_and_an_added_file_change_nothing(
    archive: Path, refused: Callable[[Path, str], None]
) -> None:
    whole = members(archive)
    facts = "evidence/a/facts.json"
    rewrite(archive, {**whole, facts: whole[facts][:-1] + b"?"})
    refused(archive, "1 files are not what was exported: 'evidence/a/facts.json'")
    rewrite(archive, {name: data for name, data in whole.items() if name != facts})
    refused(archive, "1 files are not what was exported")
    rewrite(archive, {"evidence/more": b"", **whole})
    refused(archive, "1 files are not what was exported: 'evidence/more'")


@pytest.mark.parametrize("name", ["../out", "/etc/out", "evidence/../../out", "other"])
def test_a_file_that_would_lie_elsewhere_changes_nothing(
    archive: Path, refused: Callable[[Path, str], None], name: str, tmp_path: Path
) -> None:
    rewrite(archive, {name: b"x", **members(archive)})
    refused(archive, "is no export of a run: it has|would lie outside")
    assert not (tmp_path / "out").exists()


def test_a_link_changes_nothing(archive: Path, refused: Callable[[Path, str], None]) -> None:
    rewrite(archive, members(archive), link="evidence/link")
    refused(archive, "is no export of a run: it has 'evidence/link'")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": "../x"}, "holds no run"),
        ({"runs": []}, "holds 0 runs"),
        ({"revision": "9999"}, "is of revision 9999"),
        ({"hosts": [{"run": "other"}]}, "has a row of another run among its hosts"),
        ({"steps": [{"token": 7}]}, "has a row of another run among its steps"),
        ({"hosts": "all"}, "holds no run"),
    ],
)
def test_rows_that_are_not_of_one_run_change_nothing(
    archive: Path, refused: Callable[[Path, str], None], change: dict[str, object], words: str
) -> None:
    refused(with_rows(archive, change), words)


def test_rows_that_do_not_fit_change_nothing(archive: Path, run: str, refused: Callable[[Path, str], None]) -> None:
    refused(with_rows(archive, {"hosts": [{"run": run, "host": None}]}), "its rows do not fit the ledger")
    refused(with_rows(archive, {"hosts": [{"run": run, "colour": 1}]}), "its rows do not fit the ledger")
    refused(with_rows(archive, {"hosts": [{"run": run, "record": {"name": 7}}]}), "its rows do not fit the ledger")


def with_rows(archive: Path, change: dict[str, object]) -> Path:
    """The archive with changed rows and the right checksum of them."""
    import hashlib

    whole = members(archive)
    rows = json.dumps(json.loads(whole["run.json"]) | change).encode()
    sums = whole["SHA256SUMS"].decode().splitlines()[1:]
    text = "\n".join([f"{hashlib.sha256(rows).hexdigest()}  run.json", *sums]) + "\n"
    rewrite(archive, {**whole, "run.json": rows, "SHA256SUMS": text.encode()})
    return archive


def test_only_an_ended_run_is_exported_and_no_file_is_written_over(
    source: Ledger, run: str, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="exists"):
        run_archive.export_run(run, source, tmp_path / "source/runs" / run, archive)
    under_way = source.open_run(bench="lab", campaign={}, hosts={})
    with pytest.raises(RequestError, match=f"run {under_way} has not ended"):
        run_archive.export_run(under_way, source, tmp_path, tmp_path / "x.tar.gz")
    with pytest.raises(SetupError, match=r"cannot write .*nowhere/x"):
        run_archive.export_run(run, source, tmp_path / "source/runs" / run, tmp_path / "nowhere/x")
    with pytest.raises(RequestError, match="there is no file"):
        run_archive.import_run(tmp_path / "nothing.tar.gz", source, tmp_path / "runs")
