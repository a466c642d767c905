"""Secrets that are around while a run fails: none is in its books, evidence, reports, words or crash log."""

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.report.formats import Format

Call = Callable[..., "subprocess.CompletedProcess[str]"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"
CANARY = "canary-7d0f3b"
AROUND = {
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
    "AWS_SESSION_TOKEN": f"{CANARY}-session",
    "PULUMI_CONFIG_PASSPHRASE": f"{CANARY}-passphrase",
    "PULUMI_ACCESS_TOKEN": f"{CANARY}-pulumi",
    "PTP_HARNESS_SSH_TRIES": "1",
    "PTP_HARNESS_SSH_BACKOFF": "0",
}


def holding(folder: Path) -> list[str]:
    """Files below a folder, whatever they are, that hold the canary."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if CANARY.encode() in path.read_bytes())


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A host that does not answer, behind a command that was given a password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {KEY}\n")
    mine = {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_password": f"{CANARY}-ansible",
        "ansible_become_password": f"{CANARY}-become",
        "ansible_ssh_common_args": f"-o ProxyCommand='false --password {CANARY}-proxy'",
        "ptp_harness_known_hosts": str(tmp_path / "known_hosts"),
    }
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "hosts.yaml").write_text(json.dumps({"all": {"hosts": {"mine": mine}}}))
    return folder / "hosts.yaml"


def test_no_secret_that_is_around_is_told_or_kept(call: Call, inventory: Path, tmp_path: Path) -> None:
    done = call("run", "--inventory", str(inventory), "mine", "--read-only", "--json", **AROUND)
    assert done.returncode == 3
    run = json.loads(done.stdout)["run"]
    later = [call("show", run, **AROUND), *(call("report", run, "--format", form, **AROUND) for form in Format)]
    assert [one.args for one in (done, *later) if CANARY in one.stdout + one.stderr] == []
    assert (tmp_path / "state" / "ledger.sqlite").exists()
    assert holding(tmp_path / "state") == []


def test_a_url_with_a_password_is_refused_and_kept_nowhere(call: Call, tmp_path: Path) -> None:
    url = f"https://somebody:{CANARY}@archives.invalid/ena.tar.gz"
    campaign = {"instance_types": ["lab.phc"], "driver": {"archive": url, "sha256": "0" * 64}}
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "campaign.yaml").write_text(json.dumps(campaign))
    done = call("run", "given/campaign.yaml", **AROUND)
    assert (done.returncode, done.stdout) == (2, "")
    assert CANARY not in done.stderr
    assert not (tmp_path / "state").exists() or holding(tmp_path / "state") == []


def test_the_books_are_for_their_user_alone(call: Call, inventory: Path, tmp_path: Path) -> None:
    call("run", "--inventory", str(inventory), "mine", "--read-only", **AROUND)
    wide = [path for path in (tmp_path / "state").rglob("*") if path.stat().st_mode & 0o077]
    assert wide == []


def test_a_crash_log_holds_no_secret_and_is_for_its_user_alone(
    call_process: Call, inventory: Path, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import harness.wiring\n"
        "def broken(*_arguments, **_named):\n    raise ZeroDivisionError('a bug')\n"
        "harness.wiring.ledger = broken\n"
    )
    done = call_process("runs", TMPDIR=str(tmp_path / "logs"), PYTHONPATH=str(tmp_path), **AROUND)
    assert done.returncode == 70, done.stderr
    (log,) = (tmp_path / "logs").glob("ptp-harness-*.log")
    assert "ZeroDivisionError" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert holding(tmp_path / "logs") == []
