"""The command, called as a person calls it: in a folder of its own, with books of its own."""

import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import app
from harness.model import HostState, Outcome, RunRecord, Stage
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """The command within this process: hundreds of calls would start Python for a second each.

    What a program that the command starts writes itself is not in the answer; `call_process` has that too.
    """

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
        argv = [app.NAME, *words]
        umask, status = os.umask(0o022), 0
        try:
            with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nobody:
                for name, value in _environ(tmp_path, environ).items():
                    patch.setenv(name, value)
                patch.chdir(tmp_path)
                for name, value in {"argv": argv, "stdin": nobody, "stdout": out, "stderr": err}.items():
                    patch.setattr(sys, name, value)
                app.main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os.umask(umask)
        return subprocess.CompletedProcess(argv, status, _text(out), _text(err))

    return run


@pytest.fixture
def call_process(tmp_path: Path) -> Call:
    """The command in a process of its own."""

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        env = os.environ | _environ(tmp_path, environ)
        argv = [sys.executable, "-m", "harness", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, cwd=tmp_path)

    return run


def _environ(folder: Path, environ: dict[str, str]) -> dict[str, str]:
    return {"PTP_HARNESS_STATE_DIR": str(folder / "state"), "COLUMNS": "200"} | environ


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


EARLIER = Path(__file__).parents[2] / "data" / "earlier-run" / "ledger.sql"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The books of `call`, with the run 3a5r of four lab hosts in them."""
    (tmp_path / "state").mkdir(mode=0o700)
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite") as database:
        database.executescript(EARLIER.read_text())
    database.close()
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def record_run(ledger: Ledger) -> Callable[..., str]:
    """Records a run of hosts with these outcomes, all in one state; returns its name. Without `ended` it goes on."""

    def record(
        outcomes: Mapping[str, Outcome],
        *,
        bench: str = "lab",
        state: HostState = HostState.RELEASED,
        lease_s: float = 7200.0,
        ended: bool = True,
    ) -> str:
        (earlier,) = [host for host in ledger.record("3a5r").hosts if host.name == "lab.phc"]  # type: ignore[union-attr]
        campaign = {"lease_s": lease_s, "bench": bench, "inventory": "hosts.yaml" if bench == "hosts" else None}
        run = ledger.open_run(bench=bench, campaign=campaign, hosts={name: name for name in outcomes})
        hosts = []
        for name, outcome in outcomes.items():
            token = ledger.own_host(run, name).token
            ledger.end_step(ledger.begin_step(token, Stage.PROVISION), "done")
            verdict = replace(earlier.verdict, outcome=outcome)
            hosts.append(replace(earlier, name=name, instance_type=name, verdict=verdict, state=state))
            ledger.record_state(token, hosts[-1])
        if ended:
            ledger.close_run(
                RunRecord(
                    run=run,
                    bench=bench,
                    started="2026-11-21T04:00:00+00:00",
                    seconds=12.5,
                    interrupted=False,
                    hosts=tuple(hosts),
                    leftovers=(),
                )
            )
        return run

    return record
