"""Do the roles work without the harness, from the collection that a checkout builds and nothing else?"""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]
NAME = "ptp_harness.precision_time"
BELONGS = {"FILES.json", "LICENSE", "MANIFEST.json", "meta", "playbooks", "plugins", "roles"}
IN_A_ROLE = {"README.md", "defaults", "files", "library", "meta", "module_utils", "tasks", "templates", "vars"}


def _ansible(program: str, *arguments: str, cwd: Path, collections: Path | None = None) -> str:
    """Run one of Ansible's programs where no file of the checkout is found by chance; what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(cwd / "home")}
    if collections is not None:
        env["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    argv = [str(Path(sys.executable).parent / program), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    _ansible("ansible-galaxy", "collection", "build", str(CHECKOUT), "--output-path", str(folder), cwd=folder)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of collections that holds this one."""
    folder = tmp_path_factory.mktemp("collections")
    _ansible("ansible-galaxy", "collection", "install", "--offline", "-p", str(folder), str(tarball), cwd=folder)
    return folder


def _play(play: dict[str, Any], installed: Path, folder: Path) -> str:
    common = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    (folder / "play.yml").write_text(json.dumps([common | play]))
    interpreter = f"ansible_python_interpreter={sys.executable}"
    arguments = ("--check", "-i", "localhost,", "-e", interpreter, "play.yml")
    return _ansible("ansible-playbook", *arguments, cwd=folder, collections=installed)


def test_it_contains_only_what_belongs(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [Path(name) for name in archive.getnames()]
    assert {name.parts[0] for name in names} == BELONGS
    in_roles = {name.parts[2] for name in names if name.parts[0] == "roles" and len(name.parts) > 2}
    assert in_roles <= IN_A_ROLE
    assert [name for name in names if name.suffix in (".pyc", ".retry")] == []


def test_it_has_the_harness_s_version() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"] == project["version"]


def test_every_module_of_a_role_is_one_of_the_collection() -> None:
    """By a link, so that there is one file: a role finds it by its short name, all others by its full one."""
    linked = {path.name: path.resolve() for path in (CHECKOUT / "plugins/modules").iterdir()}
    assert linked == {path.name: path.resolve() for path in CHECKOUT.glob("roles/*/library/*.py")}


def test_what_modules_share_is_one_file_for_their_roles_and_the_collection() -> None:
    shared = CHECKOUT / "roles/ena_driver/module_utils/ptp_host.py"
    users = {
        path.parts[-3] for path in CHECKOUT.glob("roles/*/library/*.py") if "module_utils.ptp_host" in path.read_text()
    }
    places = [CHECKOUT / f"roles/{role}/module_utils/ptp_host.py" for role in users]
    assert {path.resolve() for path in [*places, CHECKOUT / "plugins/module_utils/ptp_host.py"]} == {shared}
    assert {path.parts[-3] for path in CHECKOUT.glob("roles/*/module_utils/*")} == users


def test_a_role_runs_by_its_full_name(installed: Path, tmp_path: Path) -> None:
    device = {"chrony_phc_device": "/dev/no_such_clock"}
    said = _play({"roles": [{"role": f"{NAME}.chrony_phc", "vars": device}]}, installed, tmp_path)
    assert f"TASK [{NAME}.chrony_phc : Let chrony follow the clock]" in said
    assert "failed=0" in said


def test_a_playbook_runs_by_its_full_name(installed: Path, tmp_path: Path) -> None:
    arguments = (
        "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
        "-e", f"clock_facts_dest={tmp_path}/facts.json", "-e", "chrony_phc_second_opinion_address=127.0.0.1",
        "-e", "chrony_phc_second_opinion_port=1", f"{NAME}.observe",
    )  # fmt: skip
    said = _ansible("ansible-playbook", *arguments, cwd=tmp_path, collections=installed)
    assert f"TASK [{NAME}.clock_facts : Collect clock facts]" in said
    assert json.loads((tmp_path / "facts.json").read_text())["captures"]["uname"]["rc"] == 0


def test_a_wrong_variable_is_refused_by_name(installed: Path, tmp_path: Path) -> None:
    wrong = {"chrony_phc_dpoll": -3}
    with pytest.raises(AssertionError, match=r"value of chrony_phc_dpoll must be one of: -2, -1, 0, 1, 2, got: -3"):
        _play({"roles": [{"role": f"{NAME}.chrony_phc", "vars": wrong}]}, installed, tmp_path)


def test_modules_are_documented_under_their_full_names(installed: Path, tmp_path: Path) -> None:
    names = sorted(f"{NAME}.{path.stem}" for path in (CHECKOUT / "plugins/modules").iterdir())
    said = _ansible("ansible-doc", "-t", "module", "--json", *names, cwd=tmp_path, collections=installed)
    assert sorted(name for name, module in json.loads(said).items() if module["doc"]["short_description"]) == names
