"""Do the roles know each platform's names from its os-release, and refuse a platform they do not know by name?"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"

DEBIAN = {
    "package": "chrony",
    "service": "chrony.service",
    "path": "/etc/chrony/chrony.conf",
    "driftfile": "/var/lib/chrony/chrony.drift",
    "starts_with": [],
    "linuxptp": ["linuxptp", "ethtool"],
    "by_apt": [True, True],
}
FEDORA = {
    "package": "chrony",
    "service": "chronyd.service",
    "path": "/etc/chrony.conf",
    "driftfile": "/var/lib/chrony/drift",
    "starts_with": [],
    "linuxptp": ["linuxptp", "ethtool"],
    "by_apt": [False, False],
}
AMAZON = FEDORA | {"starts_with": ["ExecStartPre="]}
DECISIONS = {
    "amzn-2023": AMAZON,
    "debian-12": DEBIAN,
    "debian-13": DEBIAN,
    "rhel-9": FEDORA,
    "rocky-9": FEDORA,
    "ubuntu-22.04": DEBIAN,
    "ubuntu-24.04": DEBIAN,
}


@pytest.fixture(scope="module")
def decide(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the roles decide for hosts of these os-release files: Ansible's words, and the decisions by host."""

    def ask(files: dict[str, Path]) -> tuple[str, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("decisions")
        inventory = {"all": {"hosts": {name: {"os_release": str(path)} for name, path in files.items()}}}
        (folder / "hosts.json").write_text(json.dumps(inventory))
        given = {
            "ansible_python_interpreter": sys.executable,
            "roles_folder": str(CHECKOUT / "roles"),
            "decisions": str(folder),
            "__chrony_phc_os_release_path": "{{ os_release }}",
            "__linuxptp_os_release_path": "{{ os_release }}",
        }
        argv = [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), "--forks", "2",
            "-e", json.dumps(given), str(DATA / "platforms.yml"),
        ]  # fmt: skip
        env = os.environ | {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(CHECKOUT / "roles"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, env=env)
        decided = {name: folder / f"{name}.json" for name in files}
        return done.stdout + done.stderr, {
            name: json.loads(path.read_text()) for name, path in decided.items() if path.exists()
        }

    return ask


@pytest.fixture(scope="module")
def decided(decide: Any) -> dict[str, Any]:
    """The decisions for all platforms that the roles know."""
    said, found = decide({name: DATA / "os-release" / name for name in DECISIONS})
    assert sorted(found) == sorted(DECISIONS), said
    return dict(found)


def test_there_is_a_decision_for_every_captured_platform_but_the_unknown_one() -> None:
    assert sorted(path.name for path in (DATA / "os-release").iterdir()) == sorted([*DECISIONS, "sles-15"])


@pytest.mark.parametrize("name", DECISIONS)
def test_each_platform_has_its_names(decided: dict[str, Any], name: str) -> None:
    found = decided[name]
    config, dropin = found.pop("config").splitlines(), found.pop("service_dropin").splitlines()
    found["driftfile"] = next(line.split()[1] for line in config if line.startswith("driftfile "))
    found["starts_with"] = [line for line in dropin if line.startswith("ExecStartPre=")]
    assert found == DECISIONS[name]
    assert [line for line in config if line.startswith("refclock ")] == [
        "refclock PHC /dev/ptp_ena poll 0 dpoll 0 delay 0.000010000 prefer"
    ]


def test_chronyd_accepts_what_each_platform_gets(decide: Any, tmp_path: Path) -> None:
    chronyd = shutil.which("chronyd", path=f"{os.environ['PATH']}:/usr/sbin")
    if chronyd is None:
        pytest.skip("chronyd is not installed on this machine")
    _, found = decide({name: DATA / "os-release" / name for name in ("debian-13", "amzn-2023")})
    for name, decision in found.items():
        (tmp_path / name).write_text(decision["config"])
        argv = [chronyd, "-p", "-f", str(tmp_path / name)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_later_version_of_a_known_platform_is_taken_for_it(decide: Any, tmp_path: Path) -> None:
    (tmp_path / "sid").write_text('PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n')
    (tmp_path / "alma").write_text('ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="10.0"\n')
    said, found = decide({name: tmp_path / name for name in ("sid", "alma")})
    assert {name: decision["service"] for name, decision in found.items()} == {
        "sid": "chrony.service",
        "alma": "chronyd.service",
    }, said


@pytest.mark.parametrize(
    ("text", "name", "file"),
    [((DATA / "os-release/sles-15").read_text(), "sles 15.2", "sles"), ("PRETTY_NAME=x\n", "unnamed", "unnamed")],
)
def test_an_unknown_platform_is_named_with_those_that_are_known(
    decide: Any, tmp_path: Path, text: str, name: str, file: str
) -> None:
    (tmp_path / "os-release").write_text(text)
    said, found = decide({"host": tmp_path / "os-release"})
    assert found == {}
    assert (
        f"the role linuxptp does not know {name}: it knows amzn, debian, fedora and what names one of them in ID_LIKE; "
        f"for another platform add vars/{file}.yml to the role"
    ) in said
