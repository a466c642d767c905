"""The command, called as a person calls it: in a folder of its own, with books of its own."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import app
from harness.model import HostState, Outcome, RunRecord, Stage, Token
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        env = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200"} | environ
        argv = [sys.executable, "-m", "harness", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    return run


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
            ledger.end(ledger.begin(Token(run=run, host=name), Stage.PROVISION), "done")
            verdict = replace(earlier.verdict, outcome=outcome)
            hosts.append(replace(earlier, name=name, instance_type=name, verdict=verdict, state=state))
            ledger.settle(run, hosts[-1])
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


@pytest.fixture
def call_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """The same within this process, which takes a tenth of the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    umask = os.umask(0o077)

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        capfd.readouterr()
        code = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["ptp-harness", *words])
            for name, value in environ.items():
                patch.setenv(name, value)
            try:
                app.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    yield run
    os.umask(umask)
