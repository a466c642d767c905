"""Files go onto a host and come back as they were; what cannot be copied is named."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import CommandError, RequestError
from harness.host import file_copy

from .conftest import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]


def test_files_and_folders_there_and_back(provision: Callable[[str, str], Host], tmp_path: Path) -> None:
    host = provision("a", "lab.driver-off")
    data = os.urandom(300_000)
    mine = tmp_path / "a folder" / "deep"
    mine.mkdir(parents=True)
    (mine / "data: 1").write_bytes(data)
    (mine / "data: 1").chmod(0o751)
    os.utime(mine / "data: 1", (1_600_000_000, 1_600_000_000))
    file_copy.copy_to_host(host.machine, host.known_hosts, tmp_path / "a folder", "/root/copied")
    assert host.run("stat -c '%a %Y %s' '/root/copied/deep/data: 1'") == "751 1600000000 300000"
    file_copy.copy_from_host(host.machine, host.known_hosts, "/root/copied", tmp_path / "back")
    back = tmp_path / "back" / "deep" / "data: 1"
    assert back.read_bytes() == data
    assert (back.stat().st_mode & 0o777, int(back.stat().st_mtime)) == (0o751, 1_600_000_000)

    file_copy.copy_to_host(host.machine, host.known_hosts, mine / "data: 1", "/tmp")  # into a folder that exists
    assert host.run("stat -c %s '/tmp/data: 1'") == "300000"

    with pytest.raises(RequestError, match=r"cannot copy: .*/root/nothing.*No such file or directory"):
        file_copy.copy_from_host(host.machine, host.known_hosts, "/root/nothing", tmp_path / "x")
    with pytest.raises(RequestError, match=r"cannot copy: .*/no/such/folder/x.*No such file or directory"):
        file_copy.copy_to_host(host.machine, host.known_hosts, back, "/no/such/folder/x")
    with pytest.raises(RequestError, match=r"there is no .*nowhere here"):
        file_copy.copy_to_host(host.machine, host.known_hosts, tmp_path / "nowhere", "/root")
    with pytest.raises(RequestError, match=r"there is no folder .*nowhere here"):
        file_copy.copy_from_host(host.machine, host.known_hosts, "/root/copied", tmp_path / "nowhere" / "x")
    host.known_hosts.write_text("")
    with pytest.raises(CommandError, match="No ED25519 host key is known"):
        file_copy.copy_to_host(host.machine, host.known_hosts, back, "/root")


def test_by_the_command(provision: Callable[[str, str], Host], tmp_path: Path) -> None:
    host = provision("a", "lab.driver-off")
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    name = str(host.machine.token)

    def copy(*words: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "harness", "lab", "copy", *words]
        return subprocess.run(
            argv, env=environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    (tmp_path / "there").write_text("hello")
    assert copy("there", f"{name}:/root/x").returncode == 0
    assert copy(f"{name}:/root/x", "back").returncode == 0
    assert (tmp_path / "back").read_text() == "hello"
    missing = copy(f"{name}:/root/y", "back")
    assert (missing.returncode, "/root/y" in missing.stderr, "Traceback" in missing.stderr) == (2, True, False)
