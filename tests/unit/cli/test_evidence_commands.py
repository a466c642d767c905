"""`evidence send`, `list` and `fetch`, the option `--evidence`, and what reads evidence back on another machine."""

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.model import HostState, Outcome
from harness.probes.samples import SampleReader
from harness.store import parsed_samples
from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_outbox import Outbox, OutboxEntry
from harness.store.ledger import Ledger
from harness.system.settings import EVIDENCE_URL, LEDGER_URL

Call = Callable[..., "subprocess.CompletedProcess[str]"]
LAB = Path(__file__).parents[2] / "data" / "lab"
SECRET = "s3cr3t-7d0f3b"


@pytest.fixture
def run(record_run: Callable[..., str], tmp_path: Path) -> str:
    """An ended run of this machine with evidence of one host."""
    run = record_run({"lab.phc": Outcome.PASS}, state=HostState.RELEASED)
    folder = EvidenceFolder.create(tmp_path / "state" / "runs" / run)
    folder.write("report.json", "{}")
    folder.write("report.txt", "passed\n")
    folder.host("lab.phc").write("facts.json", "{}")
    folder.host("lab.phc").write("attempt", "1\n")
    folder.write_checksums()
    return run


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The variables of another machine that has the same ledger."""
    return {
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "elsewhere"),
        "PTP_HARNESS_CACHE_DIR": str(tmp_path / "elsewhere-cache"),
        LEDGER_URL: f"sqlite:///{tmp_path}/state/ledger.sqlite",
    }


def test_evidence_is_sent_and_another_machine_has_it(
    call: Call, run: str, elsewhere: dict[str, str], evidence_url: str, tmp_path: Path
) -> None:
    done = call("evidence", "send", run, "--evidence", evidence_url)
    sentence = f"the evidence of run {run} is in {evidence_url}: 4 files, 2 of 2 parts new\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", sentence)
    assert "4 files were there already" in call("evidence", "send", run, **{EVIDENCE_URL: evidence_url}).stderr
    assert EVIDENCE_URL not in os.environ
    fetched = call("evidence", "fetch", run, "--evidence", evidence_url, **elsewhere)
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.strip())
    assert folder.parent == tmp_path / "elsewhere-cache" / "evidence"
    assert (folder / "report.txt").read_text() == "passed\n"
    assert call("evidence", "fetch", run, "--evidence", evidence_url).stdout == f"{tmp_path}/state/runs/{run}\n"
    exported = call("ledger", "export", run, "away.tar.gz", "--evidence", evidence_url, **elsewhere)
    assert f"run {run} and 5 files of evidence are in away.tar.gz" in exported.stderr
    with tarfile.open(tmp_path / "away.tar.gz") as archive:
        assert "evidence/lab.phc/facts.json" in archive.getnames()


def test_fetched_samples_are_read_by_their_columns(
    call: Call,
    record_run: Callable[..., str],
    elsewhere: dict[str, str],
    evidence_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = record_run({"lab.phc": Outcome.PASS}, state=HostState.RELEASED)
    folder = EvidenceFolder.create(tmp_path / "state" / "runs" / run)
    folder.write("report.json", "{}")
    host = folder.host("lab.phc")
    host.write("attempt", "1\n")
    lines = (LAB / "drifting" / "samples.jsonl").read_text()
    host.write("samples.jsonl", lines)
    reader = SampleReader("samples.jsonl", most=60)
    for line in lines.split("\n"):
        reader.read_line(line)
    parsed_samples.write_columns(host, "samples.jsonl", reader)
    folder.write_checksums()
    assert call("evidence", "send", run, "--evidence", evidence_url).returncode == 0
    fetched = call("evidence", "fetch", run, "--evidence", evidence_url, **elsewhere)
    monkeypatch.setattr(parsed_samples, "SampleReader", None)
    found = parsed_samples.read_samples(Path(fetched.stdout.strip()) / "lab.phc", "samples.jsonl", most=60)
    assert (found.samples, found.slots, found.unparsed) == (reader.samples, reader.slots, reader.unparsed)
    assert EvidenceFolder(Path(fetched.stdout.strip())).list_changed() == [], "reading adds nothing to what was sent"


def test_what_waits_is_listed_and_sent(call: Call, run: str, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store"
    assert call("evidence", "list").stderr == "no evidence waits\n"
    assert call("evidence", "send", "--evidence", url).returncode == 0
    entry = OutboxEntry(run=run, started_ns=ledger.find(run).started_ns, store=url, leads=True, attempt=1)
    outbox = Outbox(tmp_path / "state")
    outbox.add(entry)
    outbox.add(OutboxEntry(run="gone", started_ns=1, store=url, leads=True, attempt=1))
    ledger.note_evidence(run, "it was away")
    assert "evidence not sent: it was away; send it with `ptp-harness evidence send`" in call("report", run).stdout
    listed = call("evidence", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [["RUN", "STORE"], ["gone", url], [run, url]]
    assert listed[2].endswith("the run has ended")
    done = call("evidence", "send", "--evidence", url)
    assert done.returncode == 2
    assert f"the evidence of run {run} is in {url}" in done.stderr, "the others are sent all the same"
    assert "not sent: run gone: there is no run 'gone'" in done.stderr
    assert [entry.run for entry in outbox.list()] == ["gone"]
    assert "not sent" not in call("report", run).stdout


def test_evidence_that_is_nowhere_is_one_sentence(
    call: Call, run: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store"
    for words in (["evidence", "fetch", run], ["ledger", "export", run, "x.tar.gz"]):
        done = call(*words, "--evidence", url, **elsewhere)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            f"the evidence of run {run} is not whole, neither on this machine nor in {url}: the report" in done.stderr
        )
        assert f"`ptp-harness evidence send {run}`" in done.stderr
    done = call("evidence", "fetch", run, **elsewhere)
    assert (done.returncode, f"evidence of run {run} is not on this machine: lab.phc" in done.stderr) == (2, True)
    done = call("evidence", "send", run, "--evidence", url, **elsewhere)
    assert (done.returncode, f"there is no evidence of run {run} on this machine" in done.stderr) == (2, True)
    done = call("evidence", "send")
    assert (done.returncode, "no evidence store is named" in done.stderr) == (2, True)


def test_an_export_without_a_store_warns_of_what_it_lacks(call: Call, run: str, elsewhere: dict[str, str]) -> None:
    done = call("ledger", "export", run, "x.tar.gz", **elsewhere)
    assert done.returncode == 0
    assert "warning: the evidence of lab.phc is not on this machine, nor in the archive" in done.stderr


def test_a_run_that_has_not_ended_is_not_sent(call: Call, record_run: Callable[..., str], tmp_path: Path) -> None:
    run = record_run({"lab.phc": Outcome.PASS}, ended=False)
    done = call("evidence", "send", run, "--evidence", f"file://{tmp_path}")
    assert (done.returncode, f"run {run} has not ended" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "url",
    [
        f"s3://key:{SECRET}@bucket/x",
        f"nope://me:{SECRET}@host/x",
        f"ftp://me:{SECRET}@127.0.0.1:1/x",
        f"file://{SECRET}@host/x",
        f"sftp://me:{SECRET}@host/x?password={SECRET}",
    ],
)
def test_no_message_and_no_log_has_the_credentials_of_a_url(call: Call, run: str, tmp_path: Path, url: str) -> None:
    for words in (["send", run], ["send"], ["fetch", run], ["list"]):
        done = call("evidence", *words, "--evidence", url, "-v", "--log-file", "log")
        assert done.returncode in (0, 2)
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
    assert call("evidence", "send", run, "--evidence", url).returncode == 2
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []


def test_a_run_with_a_url_that_cannot_be_used_makes_nothing(call: Call, tmp_path: Path) -> None:
    done = call("plan", "lab.phc", "--evidence", f"nope://me:{SECRET}@host/x")
    assert done.returncode == 2
    assert "nope://host/x is no URL of evidence: nope:// is not known" in done.stderr
