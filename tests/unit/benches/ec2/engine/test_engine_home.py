"""The engine's folder, its program and its plugin: what is there, what is missing, and what is said then."""

import os
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from harness.benches.ec2.engine.engine import parallel_operations
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.errors import SetupError

ROOT = Path(__file__).parents[5]


def program(folder: Path, words: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "pulumi"
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path) -> EngineHome:
    return EngineHome(
        folder=tmp_path / "state/ec2", project=ROOT, command=str(program(tmp_path / "bin", "echo v3.259.0"))
    )


def test_the_version_that_answers(home: EngineHome) -> None:
    assert home.version() == "v3.259.0"


def test_without_pulumi_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"pulumi is not installed: the ec2 bench needs it \(curl -fsSL https://get"):
        EngineHome(folder=tmp_path, project=ROOT).version()


@pytest.mark.parametrize("words", ["echo v3.205.9", "echo v2.99.0", "echo nothing", "true"])
def test_one_that_is_too_old_is_refused(tmp_path: Path, words: str) -> None:
    home = EngineHome(folder=tmp_path, project=ROOT, command=str(program(tmp_path / "bin", words)))
    with pytest.raises(SetupError, match=r"pulumi is .*, and 3\.206\.0 is the least"):
        home.version()


@pytest.mark.parametrize("words", ["echo v3.206.0", "echo 3.206.0-alpha.1", "echo v4.0.0"])
def test_the_least_that_will_do(tmp_path: Path, words: str) -> None:
    assert EngineHome(folder=tmp_path, project=ROOT, command=str(program(tmp_path / "bin", words))).version()


def test_one_that_does_not_work_is_named(tmp_path: Path) -> None:
    home = EngineHome(folder=tmp_path, project=ROOT, command=str(program(tmp_path / "bin", "echo boom >&2; exit 7")))
    with pytest.raises(SetupError, match=r"does not work: .* ended with status 7: boom"):
        home.version()


def test_a_stack_s_project_is_ours_with_its_program_in_place(home: EngineHome) -> None:
    folder = home.make("k3f9-m7i.large")
    made = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    assert made["name"] == "ptp-harness"
    assert made["main"] == str(ROOT / "infra")
    assert made["runtime"] == {"name": "python", "options": {"toolchain": "pip"}}
    assert "instanceType" in made["config"]


def test_all_of_it_is_for_us_alone_and_the_passphrase_stays(home: EngineHome) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: home.make(f"s{number}"), range(8)))
    first = home.passphrase.read_text()
    home.make("another")
    assert (home.passphrase.read_text(), len(first)) == (first, 43)
    assert stat.S_IMODE(home.passphrase.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in home.folder.iterdir()) == ["backend", "home", "passphrase", "stacks"]


def test_the_engine_s_environment_points_to_nothing_of_the_user_s(home: EngineHome) -> None:
    told = home.environment()
    assert told["PULUMI_BACKEND_URL"] == f"file://{home.folder}/backend"
    assert told["PULUMI_HOME"].startswith(str(home.folder))
    assert told["PULUMI_PYTHON_CMD"] == sys.executable
    assert told["PATH"].split(os.pathsep)[0] == str(Path(home.command or "").parent)


def test_old_logs_go(home: EngineHome) -> None:
    logs = home.folder / "home/logs"
    logs.mkdir(parents=True)
    for name, days in (("young.log", 6), ("old.log", 8), ("old.txt", 8)):
        (logs / name).touch()
        os.utime(logs / name, (time.time() - days * 86400,) * 2)
    home.forget_old_logs()
    assert sorted(path.name for path in logs.iterdir()) == ["old.txt", "young.log"]


def test_any_backend_may_be_named(tmp_path: Path, home: EngineHome) -> None:
    other = EngineHome(folder=tmp_path, project=ROOT, backend="s3://states", command=home.command)
    assert other.environment()["PULUMI_BACKEND_URL"] == "s3://states"
    assert other.backend_folder is None


def test_a_plugin_of_ours_or_of_a_debugger_is_found(home: EngineHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("PULUMI_DEBUG_PROVIDERS", raising=False)
    assert home.plugin() is None
    monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", "gcp:1,aws:2")
    assert home.plugin() == "PULUMI_DEBUG_PROVIDERS"


def test_the_user_s_own_plugin_is_used(home: EngineHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_DEBUG_PROVIDERS", raising=False)
    theirs = tmp_path / f".pulumi/plugins/resource-aws-v{importlib.metadata.version('pulumi-aws')}"
    theirs.mkdir(parents=True)
    (theirs / "pulumi-resource-aws").write_text("")
    assert home.fetch_plugin() == str(home.folder / "home/plugins" / theirs.name)
    assert home.plugin() == home.fetch_plugin()


def test_a_plugin_that_cannot_be_fetched_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_DEBUG_PROVIDERS", raising=False)
    command = program(tmp_path / "bin", "echo no route to host >&2; exit 255")
    home = EngineHome(folder=tmp_path / "s", project=ROOT, command=str(command))
    with pytest.raises(SetupError, match=r"could not be fetched: .*no route to host.*plugin install resource aws"):
        home.fetch_plugin()


@pytest.mark.parametrize(("mib", "at_once"), [(0, 1), (1261, 1), (2011, 1), (2012, 2), (22000, 28)])
def test_memory_says_how_many_at_once(mib: int, at_once: int) -> None:
    assert parallel_operations(mib) == at_once
