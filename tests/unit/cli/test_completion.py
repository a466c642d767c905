"""What the shell offers while a command is typed: types, runs and hosts that there are, and never an error."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest

from harness.benches.ec2.market import offline as ec2_kept
from harness.benches.lab.truths.truths import TRUTHS
from harness.cli import completion, keep, lab, plan, report, show
from harness.cli import run as run_verb
from harness.ladder import judge
from harness.model import Depth, Evidence, HostRecord, HostState
from harness.store.ledger import Ledger

NOW = "2026-11-21T00:00:00+00:00"
INVENTORY = "all:\n  children:\n    rack7:\n      hosts: {a1: {}, b1: {}}\n"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """State of its own, and the command on the path."""
    program = tmp_path / "bin" / "ptp-harness"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ours = {"STATE_DIR": str(tmp_path / "state"), "CACHE_DIR": str(tmp_path / "cache")}
    return kept | {f"PTP_HARNESS_{name}": value for name, value in ours.items()} | {"PATH": path}


def keep_types(cache: Path, region: str, types: Sequence[str], taken: str = "", at: str = "") -> Path:
    """The list of a Region's types as `types` keeps it."""
    path = cache / "ec2" / f"types-{region}{at}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [{"name": name, "architecture": "arm64", "vcpus": 2, "phc": None} for name in types]
    when = taken or datetime.now(UTC).isoformat()
    path.write_text(json.dumps({"schema": 1, "taken": when, "content": content}))
    return path


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run with two hosts, of which the second was kept."""
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc", "lab.phc-2": "lab.phc"})
    for name, state in {"lab.phc": HostState.RELEASED, "lab.phc-2": HostState.KEPT}.items():
        verdict = judge(Evidence(interrupted=True), (), depth=Depth.QUICK, read_only=False)
        record = HostRecord(
            name=name, instance_type="lab.phc", verdict=verdict, facts=None, stages={}, state=state, address=None
        )
        ledger.record_state(ledger.own_host(run, record.name).token, record)
    ledger.close()
    return run


def offered(environ: dict[str, str], folder: Path, lines: Iterable[Sequence[str]]) -> list[list[str]]:
    """What bash offers for the last word of each line, by the script that --show-completion prints."""
    typed = [f"COMP_WORDS=({shlex.join(['ptp-harness', *line])}) COMP_CWORD={len(line)}" for line in lines]
    script = "\n".join(
        [
            'eval "$(_PTP_HARNESS_COMPLETE=source_bash ptp-harness)"',
            *(f'{words}; _ptp_harness_completion ptp-harness; echo "${{COMPREPLY[*]}}"' for words in typed),
        ]
    )
    done = subprocess.run(
        ["bash", "-c", script], env=environ, cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.programs
def test_bash_offers_what_there_is(environ: dict[str, str], run: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    for region, types in {"eu-west-1": ["m8g.large"], "eu-north-1": ["c7g.large", "m7i.large", "m7i.xlarge"]}.items():
        keep_types(tmp_path / "cache", region, types)
    wanted: dict[tuple[str, ...], list[str]] = {
        ("lab", "d"): ["down"],
        ("run", "--depth", "q"): ["quick"],
        ("run", "lab.phc", "lab.d"): [name for name in TRUTHS if name.startswith("lab.d")],
        ("lab", "up", "lab.old"): ["lab.old-driver"],
        ("plan", "--inventory", "hosts.yaml", "b"): ["b1"],
        ("report", run[:2]): [run],
        ("run", "m7i"): ["m7i.large", "m7i.xlarge"],
        ("run", "--bench", "lab", "m7i"): [],
        ("plan", "--region", "eu-west-1", "m"): ["m8g.large"],
        ("run", "--bench", "ec2", ""): ["c7g.large", "m7i.large", "m7i.xlarge"],
        ("run", "lab.phc", "--region", "eu"): ["eu-north-1", "eu-west-1"],
        ("types", "--family", ""): ["c7g", "m7i"],
        ("types", "--region", "eu-west-1", "--family", ""): ["m8g"],
        ("show", run, "lab"): ["lab.phc", "lab.phc-2"],
        ("ssh", run, ""): ["lab.phc-2"],
    }
    assert dict(zip(wanted, offered(environ, tmp_path, wanted), strict=True)) == wanted


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("run", {"targets": completion.targets}),
        ("plan", {"targets": completion.targets}),
        ("lab up", {"types": completion.lab_types}),
        ("lab ssh", {"name": completion.lab_hosts}),
        ("lab down", {"names": completion.lab_hosts}),
        ("show", {"run": completion.runs, "host": completion.hosts}),
        ("report", {"run": completion.runs}),
        ("keep", {"run": completion.runs, "host": completion.hosts}),
        ("release", {"run": completion.runs, "hosts": completion.kept_hosts}),
        ("ssh", {"run": completion.runs, "host": completion.kept_hosts}),
    ],
)
def test_every_argument_that_names_something_completes(path: str, arguments: dict[str, object]) -> None:
    verb = {"lab up": lab.up, "lab ssh": lab.enter, "lab down": lab.down, "ssh": keep.enter,
            "keep": keep.keep,
            "release": keep.release, "run": run_verb.run, "plan": plan.plan, "show": show.show,
            "report": report.report}[path]  # fmt: skip
    hints = get_type_hints(verb, include_extras=True)
    assert {name: hints[name].__metadata__[0].autocompletion for name in arguments} == arguments


@pytest.mark.programs
@pytest.mark.parametrize(
    ("shell", "answer"),
    [("zsh", '_arguments \'*: :(("lab.two-cards":'), ("fish", "lab.two-cards\t")],
)
def test_zsh_and_fish_ask_the_same(environ: dict[str, str], shell: str, answer: str) -> None:
    def asked(**more: str) -> str:
        done = subprocess.run(
            ["ptp-harness"], env=environ | more, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    assert f"_PTP_HARNESS_COMPLETE=complete_{shell}" in asked(_PTP_HARNESS_COMPLETE=f"source_{shell}")
    said = asked(
        _PTP_HARNESS_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="ptp-harness run lab.tw",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert said.startswith(answer)


def test_the_newest_list_of_the_endpoint_that_would_be_asked_counts(tmp_path: Path) -> None:
    keep_types(tmp_path, "eu-west-1", ["m8g.large", "m8g.xlarge"], "2026-11-20T00:00:00+00:00")
    keep_types(tmp_path, "eu-north-1", ["m7i.large"], "2026-11-19T00:00:00+00:00")
    model = {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"}
    keep_types(tmp_path, "eu-south-1", ["x1.large"], "2026-11-21T00:00:00+00:00", "@http-127-0-0-1-5000")
    (tmp_path / "ec2" / "types-us-east-1.json").write_text("{")

    def names(region: str | None = None, **environ: str) -> list[str]:
        return [name for name, _ in ec2_kept.types(tmp_path, region, environ)]

    assert names() == ["m8g.large", "m8g.xlarge"]
    assert (
        names("eu-north-1") == names(AWS_REGION="eu-north-1") == names(AWS_DEFAULT_REGION="eu-north-1") == ["m7i.large"]
    )
    assert names("us-east-1") == names("eu-south-1") == []
    assert names(**model) == ["x1.large"]
    assert [region for region, _ in ec2_kept.regions(tmp_path, {})] == ["eu-west-1", "eu-north-1"]
    assert ec2_kept.families(tmp_path, None, {}) == [("m8g", "2 sizes")]
    assert ec2_kept.types(tmp_path, None, {})[0] == ("m8g.large", "arm64, 2 vCPUs, PHC unknown by the API")
    keep_types(tmp_path, "eu-north-1", []).write_text(json.dumps({"schema": 1, "taken": NOW, "content": [{}]}))
    assert names("eu-north-1") == []


def test_completion_of_types_never_loads_the_aws_sdk() -> None:
    program = "import sys; from harness.cli import completion; completion.regions(''); print('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False"]


def test_where_nothing_is_known_nothing_is_offered_and_nothing_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PTP_HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    assert completion.runs("") == []
    assert completion.lab_hosts("") == []
    assert completion.regions("") == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.sqlite").write_text("no books, but words that are long enough to be looked at" * 20)
    assert completion.runs("") == []
    monkeypatch.setenv("PTP_HARNESS_SSH_TRIES", "many")
    assert completion.lab_types("") == []


@pytest.mark.parametrize(("shell", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_completion_names_the_file_that_it_edits(tmp_path: Path, shell: str, file: str) -> None:
    program = (
        "import sys, typer.completion\n"
        "from harness.cli.app import app, NAME\n"
        f"typer._completion_shared._get_shell_name = lambda: {shell!r}\n"
        "app(['--install-completion'], prog_name=NAME)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "ptp-harness" in (tmp_path / file).read_text() or ".zfunc" in (tmp_path / file).read_text()
    assert done.stderr == f"added to {tmp_path / file}: the lines that load it; remove them to undo this\n"
