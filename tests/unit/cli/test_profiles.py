"""`profiles` lists the profiles that come along, and prints one as a file that is read again."""

import json
from pathlib import Path

import pytest
import yaml

from harness.system import profile_files
from tests.unit.cli.conftest import Call

NAMES = [profile.name for profile in profile_files.load_standards()]


def test_every_profile_is_listed_with_its_limits(call: Call) -> None:
    done = call("profiles")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["PROFILE", *NAMES]
    assert "bound 100 us" in done.stdout
    assert [profile["name"] for profile in json.loads(call("profiles", "--json").stdout)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_profile_is_a_file_of_it(call: Call, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.yaml").write_text(call("profiles", name).stdout)
    (profile,) = [profile for profile in profile_files.load_standards() if profile.name == name]
    assert profile_files.read_profile(str(tmp_path / "mine.yaml")) == profile
    assert json.loads(call("profiles", "mine.yaml", "--json").stdout) == yaml.safe_load(
        (tmp_path / "mine.yaml").read_text()
    )


def test_an_unknown_profile_is_refused_with_the_known_ones(call: Call) -> None:
    done = call("profiles", "mifid-hft")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no profile 'mifid-hft' (did you mean 'mifid-ii-hft'?)" in done.stderr
    assert "g8272-prtc-a" in done.stderr
