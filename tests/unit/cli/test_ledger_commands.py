"""`ledger upgrade`, `check`, `export` and `import`, and the option that names a ledger."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sql

from harness.model import Outcome
from harness.store.ledger import Ledger
from harness.system.settings import LEDGER_URL

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_run_moves_to_a_team_s_ledger(
    call: Call, record_run: Callable[..., str], new_database: str, tmp_path: Path
) -> None:
    run = record_run({"lab.phc": Outcome.PASS})
    (tmp_path / "state/runs" / run / "lab.phc").mkdir(parents=True)
    (tmp_path / "state/runs" / run / "report.txt").write_text("passed\n")
    done = call("ledger", "export", run, "run.tar.gz")
    assert (done.returncode, done.stderr.strip()) == (0, f"run {run} and 1 files of evidence are in run.tar.gz")
    (tmp_path / "state/runs" / run).rename(tmp_path / "elsewhere")
    done = call("ledger", "import", "run.tar.gz", "--ledger", new_database)
    assert done.returncode == 0, done.stderr
    assert f"run {run} is imported: 1 hosts, 1 files of evidence, checksums verified" in done.stderr
    assert (tmp_path / "state/runs" / run / "report.txt").read_text() == "passed\n"
    assert call("runs", "--ledger", new_database).stdout.count(run) == 1
    assert call("report", run, **{LEDGER_URL: new_database}).stdout == call("report", run).stdout
    again = call("ledger", "import", "run.tar.gz", "--ledger", new_database)
    assert (again.returncode, f"run {run} is in this ledger already" in again.stderr) == (2, True)
    assert LEDGER_URL not in os.environ


def test_a_cut_archive_is_one_sentence(call: Call, record_run: Callable[..., str], tmp_path: Path) -> None:
    run = record_run({"lab.phc": Outcome.PASS})
    call("ledger", "export", run, "run.tar.gz")
    (tmp_path / "run.tar.gz").write_bytes((tmp_path / "run.tar.gz").read_bytes()[:300])
    done = call("ledger", "import", "run.tar.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run.tar.gz cannot be read as an export of a run" in done.stderr
    assert "nothing was changed" in done.stderr


def test_a_ledger_is_checked(call: Call, record_run: Callable[..., str], ledger: Ledger, tmp_path: Path) -> None:
    run = record_run({"lab.phc": Outcome.PASS, "lab.no-phc": Outcome.UNSUPPORTED})
    done = call("ledger", "check")
    assert done.returncode == 0
    assert f"sqlite:///{tmp_path}/state/ledger.sqlite" in done.stdout
    assert "content   2 runs, 6 hosts" in done.stdout
    ledger.database.write(lambda db: db.execute(sql.text("UPDATE hosts SET state = NULL WHERE host = 'lab.no-phc'")))
    done = call("ledger", "check")
    assert done.returncode == 1
    named = ", ".join(sorted(["3a5r", run]))
    assert f"WRONG: an ended run has hosts without a verdict or a final state: {named}" in done.stdout


def test_an_upgrade_says_what_it_did(call: Call, new_database: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    earlier = Path(__file__).parents[2] / "data" / "earlier-run" / "ledger.sql"
    with closing(sqlite3.connect(tmp_path / "state/ledger.sqlite")) as database:
        database.executescript(earlier.read_text())
    said = call("ledger", "upgrade").stderr
    assert "from revision 0001 to " in said
    assert f"it was copied to {tmp_path}/state/ledger.sqlite.0001.backup" in said
    assert "nothing to do" in call("ledger", "upgrade").stderr
    assert "made the tables of the ledger postgresql" in call("ledger", "upgrade", "--ledger", new_database).stderr


def test_a_wrong_or_unreachable_ledger_is_one_sentence_without_its_password(call: Call) -> None:
    for url in ("mysql://ptp:s3cr3t@db/x", "postgresql://ptp:s3cr3t@127.0.0.1:1/x"):
        for words in (["runs"], ["show", "last"], ["sweep"], ["ledger", "check"], ["ledger", "upgrade"]):
            done = call(*words, "--ledger", url)
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert "s3cr3t" not in done.stderr
            assert "ptp-harness: " in done.stderr
            assert "Traceback" not in done.stderr
