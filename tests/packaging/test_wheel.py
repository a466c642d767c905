"""What the wheel installs is the whole product: the same files, and a command that works far from a checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness import __version__
from harness.benches.lab.truths.truths import TRUTHS

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("guests"),  # one of these runs a guest, and all use what is installed once
    pytest.mark.skipif(
        shutil.which("git") is None or not (ROOT / ".git").exists(),
        reason="needs git and a checkout: they say which files are the product's",
    ),
]

ASSETS = "harness/_assets/"
CARRIED = {"harness", "infra", "lab", "playbooks", "roles", "ansible.cfg", "Pulumi.yaml"}
FOLDERS_LEFT_OUT = {
    "tests", "docs", "benchmarks", "deploy", "examples", "tools", "requirements", "extensions", "meta", "plugins",
}  # fmt: skip
FILES_LEFT_OUT = {"Makefile", "LICENSE", "pyproject.toml", "galaxy.yml", "mkdocs.yml", "*.md", ".*"}
SCENARIOS = ("roles/*/molecule/*", "roles/*/tests/*")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def tracked() -> dict[str, bool]:
    """Every file that git tracks, or would if it were added, and whether it may be executed."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name: bool((ROOT / name).stat().st_mode & 0o111) for name in names if name and (ROOT / name).is_file()}


def carried() -> dict[str, bool]:
    """What the wheel shall hold beside its metadata, by the name it has there."""
    ours = {path: mode for path, mode in tracked().items() if path.partition("/")[0] in CARRIED}
    return {
        path if path.startswith("harness/") else ASSETS + path: mode
        for path, mode in ours.items()
        if not any(fnmatch(path, pattern) for pattern in SCENARIOS)
    }


def clean(**more: str) -> dict[str, str]:
    """An environment in which nothing points to this checkout or its Python."""
    ours = ("PYTHON", "VIRTUAL_ENV", "PYTEST", "COVERAGE", "ANSIBLE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environ | more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], env=clean(), cwd=folder, check=True, timeout=300)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def names(wheel: Path) -> Mapping[str, bool]:
    """The files in the wheel, and whether each may be executed."""
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: bool(one.external_attr >> 16 & 0o111) for one in archive.infolist()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the locked packages, the wheel, and nothing else."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(home)], env=clean(), check=True, timeout=300)
    install = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--require-hashes", "--requirement", str(ROOT / "requirements" / "run.txt")]
    for what in (locked, ["--no-deps", "--no-index", str(wheel)]):
        subprocess.run([*install, *what], env=clean(), cwd=home, check=True, timeout=600)
    return home / "bin"


@pytest.fixture
def command(installed: Path, tmp_path: Path) -> Command:
    """The installed command, called from an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        env = clean(PTP_HARNESS_STATE_DIR=str(tmp_path / "state"), **environ)
        argv = [str(installed / "ptp-harness"), *words]
        return subprocess.run(argv, env=env, cwd=empty, capture_output=True, text=True, timeout=800)

    return run


# --- what it holds ---------------------------------------------------------------------------------------------------


def test_the_wheel_holds_what_git_tracks_and_nothing_else(names: Mapping[str, bool]) -> None:
    metadata = f"ptp_harness-{__version__}.dist-info/"
    assert {name: mode for name, mode in names.items() if not name.startswith(metadata)} == carried()
    assert {name.removeprefix(metadata) for name in names if name.startswith(metadata)} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip


def test_what_the_hosts_and_the_lab_need_is_among_it(names: Mapping[str, bool]) -> None:
    for name in ("ansible.cfg", "playbooks/configure.yml", "roles/clock_facts/files/sample.py", "lab/image/truth.c"):
        assert ASSETS + name in names
    assert names[ASSETS + "lab/image/customize"], "executables stay executable"
    assert not names[ASSETS + "lab/image/packages.txt"]


def test_no_test_and_no_cache_is_in_it(names: Mapping[str, bool]) -> None:
    unwanted = ("*/test_*", "*conftest.py", "*/molecule/*", "*__pycache__*", "*.pyc", "*/.*", "*~")
    assert [name for name in names for pattern in unwanted if fnmatch(name, pattern)] == []


def test_every_folder_is_either_carried_or_left_out_on_purpose() -> None:
    top = {path.partition("/")[0] for path in tracked()}
    unknown = [
        name
        for name in top - CARRIED
        if not any(fnmatch(name, pattern) for pattern in FOLDERS_LEFT_OUT | FILES_LEFT_OUT)
    ]
    assert unknown == [], "pyproject.toml says what the wheel carries; say here what it does not"


# --- what it does ----------------------------------------------------------------------------------------------------


def test_the_installed_command_is_the_installed_one(installed: Path, command: Command) -> None:
    said = command("--version")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"ptp-harness {__version__}\n", "")
    where = [
        str(installed / "python"),
        "-c",
        "import harness, harness.system.settings as s; print(harness.__file__); print(s.assets_dir())",
    ]
    done = subprocess.run(where, env=clean(), cwd=installed, capture_output=True, text=True, check=True, timeout=60)
    package, assets = map(Path, done.stdout.splitlines())
    assert package.is_relative_to(installed.parent)
    assert assets == package.parent / "_assets"
    assert os.access(assets / "lab" / "image" / "customize", os.X_OK)


def test_doctor_looks_at_this_machine(command: Command) -> None:
    done = command("doctor", "--json")
    checks = {check["name"]: check["ok"] for check in json.loads(done.stdout)}
    assert {"mmdebstrap", "qemu", "disk space"} <= checks.keys()
    assert done.returncode == (0 if all(checks.values()) else 2)


def test_a_plan_and_the_schema(command: Command) -> None:
    made = command("plan", "lab.phc", "--json")
    assert (made.returncode, json.loads(made.stdout)["hosts"][0]["name"]) == (0, "lab.phc"), made.stderr
    schema = command("campaign", "schema")
    assert "instance_types" in json.loads(schema.stdout)["properties"]


def test_a_folder_of_the_same_name_where_it_is_called_changes_nothing(command: Command, tmp_path: Path) -> None:
    decoy = tmp_path / "empty" / "harness"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    (tmp_path / "empty" / "ansible.cfg").write_text("[defaults]\nroles_path = /nowhere\n")
    assert command("plan", "lab.phc").returncode == 0


@pytest.mark.lab
def test_a_whole_campaign_by_the_installed_command(command: Command) -> None:
    done = command("run", "lab.no-capacity", "lab.phc", "--depth", "quick", "--json")
    assert done.stdout, done.stderr
    hosts = {
        host["name"]: (host["outcome"], host["reason"], host["state"]) for host in json.loads(done.stdout)["hosts"]
    }
    demanded = {name: TRUTHS[name].demand for name in ("lab.no-capacity", "lab.phc")}
    assert hosts == {name: (one.outcome, one.reason, "released") for name, one in demanded.items()}, done.stderr
    assert done.returncode == 3
    assert command("sweep").stdout == "nothing is left\n"
