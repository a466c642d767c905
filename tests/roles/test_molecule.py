"""Does a role pass its molecule scenario from end to end? One role here; `make molecule` runs all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
SCENARIOS = CHECKOUT / "extensions/molecule"
ORDER = ["destroy", "syntax", "create", "check", "converge", "idempotence", "side_effect", "verify", "destroy"]


def test_every_role_has_a_scenario_with_a_case_that_must_fail() -> None:
    roles = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
    assert sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml")) == roles
    for role in roles:
        scenario = yaml.safe_load((SCENARIOS / role / "molecule.yml").read_text())
        assert scenario["scenario"]["test_sequence"] == ORDER
        assert "rescue" in yaml.safe_load((SCENARIOS / role / "side_effect.yml").read_text())[0]["tasks"][0]


@pytest.mark.roles
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("guests")
def test_the_role_linuxptp_passes_its_scenario(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    env = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
    }
    argv = [str(programs / "molecule"), "test", "--scenario-name", "linuxptp"]
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
