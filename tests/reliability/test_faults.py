"""What happens to the ledger in the middle of a run: the run ends with its verdicts all the same, or says why not.

In each case nothing is left that was not kept, once what is left was swept.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers.postgresql import Server

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LOCKED_S = float(os.environ.get("PTP_HARNESS_TEST_LOCKED_S", "15"))  # SQLite itself waits for 10 s
AWAY_S = 3.0


class Run:
    """A run in a process of its own, which has begun to work on its hosts."""

    def __init__(self, url: str, folder: Path, *prefix: str, **environ: str) -> None:
        self.url, self.folder = url, folder
        argv = [*prefix, sys.executable, "-m", "tests.programs.slow_run", url, str(folder), "run"]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline().strip()

    def end(self) -> dict[str, Any]:
        """Wait for the end of the run; return its record."""
        out, _ = self.process.communicate(timeout=400)
        record: dict[str, Any] = json.loads(out.splitlines()[-1])
        return record

    def find_faults(self) -> list[str]:
        """Sweep what is left; name all that does not hold then."""
        argv = [sys.executable, "-m", "tests.programs.slow_run", self.url, str(self.folder), "recover"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        faults: list[str] = json.loads(done.stdout)
        return faults


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """The verdicts and states of the same run with nothing in its way."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return verdicts(Run(f"sqlite:///{folder}/ledger.sqlite", folder).end())


def verdicts(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(host["name"], host["verdict"]["outcome"], host["state"]) for host in record["hosts"]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "killed"])
def test_the_server_of_the_ledger_is_away_for_a_moment(
    how: signal.Signals, own_server: Server, tmp_path: Path, undisturbed: list[tuple[str, str, str]]
) -> None:
    run = Run(own_server.make_database("faults"), tmp_path)
    own_server.stop(how)
    time.sleep(AWAY_S)
    own_server.start()
    record = run.end()
    assert (verdicts(record), record["failures"]) == (undisturbed, [])
    assert run.find_faults() == []


def enter_network(name: str) -> list[str]:
    """The beginning of a command in a network namespace. `ip -n` also mounts, which a chroot refuses."""
    return ["nsenter", f"--net=/run/netns/{name}", "--"]


@contextmanager
def two_networks(server: Server) -> Iterator[tuple[str, str]]:
    """The names of two network namespaces with a link, of a server and a client."""
    names = [f"ptp-{os.getpid()}-{side}" for side in ("server", "client")]
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if ip is None:
        pytest.skip("needs iproute2's `ip`, which is not installed")
    made = subprocess.run([ip, "netns", "add", names[0]], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs the right to make network namespaces: {made.stderr.strip()}")
    try:
        subprocess.run([ip, "netns", "add", names[1]], check=True)
        for name, words in (
            (names[0], ["link", "add", "there", "type", "veth", "peer", "name", "here", "netns", names[1]]),
            (names[0], ["address", "add", "192.0.2.1/30", "dev", "there"]),
            (names[1], ["address", "add", "192.0.2.2/30", "dev", "here"]),
            (names[0], ["link", "set", "there", "up"]),
            (names[1], ["link", "set", "here", "up"]),
        ):
            subprocess.run([*enter_network(name), ip, *words], check=True)
        yield names[0], names[1]
    finally:
        server.stop()
        for name in names:
            subprocess.run([ip, "netns", "delete", name], check=False, capture_output=True)


def test_the_network_to_the_server_of_the_ledger_is_cut_off(
    own_server: Server, tmp_path: Path, undisturbed: list[tuple[str, str, str]]
) -> None:
    local_url = own_server.make_database("faults")
    own_server.stop()
    with two_networks(own_server) as (there, here):
        own_server.listen("192.0.2.1", *enter_network(there))
        run = Run(f"postgresql://{own_server.user}@192.0.2.1/faults", tmp_path, *enter_network(here))
        assert run.first_line == "under way"
        subprocess.run([*enter_network(there), "ip", "link", "set", "there", "down"], check=True)
        time.sleep(25.0)  # longer than the client waits for an answer
        subprocess.run([*enter_network(there), "ip", "link", "set", "there", "up"], check=True)
        record = run.end()
        assert (verdicts(record), record["failures"]) == (undisturbed, [])
        run.url = local_url
        assert run.find_faults() == []


def test_the_file_of_the_ledger_is_locked_by_another_process(
    tmp_path: Path, undisturbed: list[tuple[str, str, str]]
) -> None:
    run = Run(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path)
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(LOCKED_S)
    other.execute("ROLLBACK")
    other.close()
    record = run.end()
    assert (verdicts(record), record["failures"]) == (undisturbed, [])
    assert run.find_faults() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_disk_of_the_ledger_is_full(small_disk: Path, tmp_path: Path) -> None:
    run = Run(f"sqlite:///{small_disk}/ledger.sqlite", tmp_path)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    record = run.end()
    filler.unlink()
    said = json.dumps(record)
    assert "full" in said or "disk I/O" in said
    assert not [host for host in record.get("hosts", []) if host["verdict"]["outcome"] not in ("PASS", "INCONCLUSIVE")]
    assert run.find_faults() == []


def test_a_ledger_that_cannot_be_written_begins_nothing(small_disk: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{small_disk}/ledger.sqlite"
    Run(url, tmp_path).end()
    (tmp_path / "bench" / "before").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    again = Run(url, tmp_path / "again")
    said = json.loads(again.first_line)
    assert "cannot" in said["error"]
    assert "disk" in said["error"] or "written" in said["error"]
    assert again.process.wait(timeout=60) == 2
    assert not list((tmp_path / "again").rglob("made/*"))


@pytest.mark.parametrize("hours", [1, -1])
def test_the_clock_of_the_controller_is_stepped(
    hours: int, tmp_path: Path, undisturbed: list[tuple[str, str, str]]
) -> None:
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        pytest.skip("needs libfaketime, which is not installed (package faketime)")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    run = Run(
        f"sqlite:///{tmp_path}/ledger.sqlite",
        tmp_path,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    offset.write_text(f"{hours:+d}h")
    record = run.end()
    assert (verdicts(record), record["failures"]) == (undisturbed, [])
    assert run.find_faults() == []
