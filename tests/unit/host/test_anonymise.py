"""Does what belongs to one host leave its disk, all of it, and nothing that is not on this disk?"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.runs import bake

FOLDERS = [
    "etc", "etc/ssh", "root", "root/.ssh", "home/admin", "home/admin/.ssh", "home", "srv/ci", "srv/ci/.ssh", "var",
    "tmp", "var/lib", "var/tmp", "var/log", "var/log/journal", "var/lib/dbus", "var/lib/ptp-harness", "var/lib/chrony",
    "var/lib/cloud", "var/lib/amazon", "var/lib/amazon/ssm", "var/lib/systemd", "var/lib/systemd/coredump",
    "var/lib/NetworkManager", "home/admin/.local/share/fish",
]  # fmt: skip
GONE = [
    "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.next", "etc/ssh/ssh_host_ed25519_key.next.new",
    "root/.ssh/authorized_keys2", "home/admin/.ssh/authorized_keys2", "home/admin/.ssh/known_hosts.old",
    "home/admin/.zsh_history", "home/admin/.python_history", "home/admin/.sh_history", "home/admin/.histfile",
    "home/admin/.local/share/fish/fish_history", "srv/ci/.ssh/authorized_keys", "srv/ci/.bash_history",
    "var/lib/cloud/instances/i-1/user-data.txt", "var/lib/cloud/data/instance-id",
    "var/lib/amazon/ssm/Vault/Store/RegistrationKey", "var/lib/amazon/ssm/.hidden", "var/lib/ptp-harness/.hidden",
    "tmp/ansible/x", "tmp/.hidden", "var/tmp/x", "var/tmp/.folder/x", "var/lib/systemd/coredump/core.1",
    "var/lib/systemd/credential.secret", "var/lib/NetworkManager/secret_key", "var/crash/x",
]  # fmt: skip
KEPT = [
    "etc/ssh/sshd_config", "etc/passwd", "home/admin/.ssh/config", "home/admin/.bashrc", "root/.profile",
    "home/admin/.local/share/fish/config", "var/lib/cloud/seed/nocloud/user-data", "var/lib/ptp-harness/ena_build.json",
    "var/lib/amazon/other", "srv/ci/work",
]  # fmt: skip
TEXT = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nci:x:1:1::/srv/ci:/bin/sh\nnobody:x:2:2::/nonexistent:/bin/sh\nx:::::/:\n"
}


def anonymise(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-s", str(root)], stdin=bake.ANONYMISE.open(), capture_output=True, text=True, check=False, timeout=60
    )


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A disk that is not this machine's."""
    root = tmp_path / "disk"
    for name in GONE + KEPT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(TEXT.get(name, "of this host\n"))
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


def test_all_that_is_one_host_s_goes(tree: Path) -> None:
    done = anonymise(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kept = {name: TEXT.get(name, "of this host\n") for name in KEPT}
    assert files(tree) == kept | {"etc/machine-id": ""}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_leads_elsewhere_is_refused_before_anything_is_removed(tree: Path, name: str) -> None:
    elsewhere = tree.parent / "elsewhere"
    shutil.move(tree / name, elsewhere)
    for more in GONE:
        (elsewhere / Path(more).name).write_text("not of this disk\n")
    (tree / name).symlink_to(elsewhere)
    if name == "etc":  # then its list of users is out of reach, too
        assert "ci" in (elsewhere / "passwd").read_text()
    before = files(tree), files(elsewhere)
    done = anonymise(tree)
    assert done.returncode == 1
    assert "leads out of" in done.stderr
    assert "nothing was removed" in done.stderr
    assert (files(tree), files(elsewhere)) == before


def test_a_home_that_leads_elsewhere_is_refused(tree: Path) -> None:
    (tree / "etc/passwd").write_text("x:x:1:1::/../elsewhere:/bin/sh\n")
    (tree.parent / "elsewhere/.ssh").mkdir(parents=True)
    (tree.parent / "elsewhere/.ssh/authorized_keys").write_text("not of this disk\n")
    before = files(tree.parent)
    done = anonymise(tree)
    assert (done.returncode, "leads out of" in done.stderr) == (1, True)
    assert files(tree.parent) == before


def test_a_link_within_the_disk_is_followed(tree: Path) -> None:
    (tree / "data").mkdir()
    shutil.move(tree / "home", tree / "data/home")
    (tree / "home").symlink_to("data/home")
    assert anonymise(tree).returncode == 0
    assert not (tree / "data/home/admin/.ssh/authorized_keys2").exists()
    assert (tree / "data/home/admin/.bashrc").exists()


@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_a_file_that_is_elsewhere_stays_as_it_is(tree: Path, hard: bool) -> None:
    elsewhere = tree.parent / "elsewhere"
    elsewhere.mkdir()
    for number, name in enumerate([*GONE, "etc/machine-id", "var/log/syslog", "var/lib/dbus/machine-id"]):
        target = elsewhere / str(number)
        target.write_text("not of this disk\n")
        (tree / name).unlink(missing_ok=True)
        if hard:
            (tree / name).hardlink_to(target)
        else:
            (tree / name).symlink_to(target)
    before = files(elsewhere)
    done = anonymise(tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(elsewhere) == before
    assert (tree / "etc/machine-id").read_text() == ""
    assert not (tree / "etc/machine-id").is_symlink()
    assert [name for name in GONE if (tree / name).exists()] == []


@pytest.mark.skipif(shutil.which("shred") is None, reason="shred is not installed on this machine")
@pytest.mark.parametrize(
    "name",
    [
        "etc/ssh/ssh_host_ed25519_key",
        "home/admin/.zsh_history",
        "var/lib/cloud/instances/i-1/user-data.txt",
        "var/lib/amazon/ssm/Vault/Store/RegistrationKey",
        "var/lib/systemd/credential.secret",
    ],
)
def test_secrets_are_overwritten_before_they_are_removed(tree: Path, name: str) -> None:
    held = os.open(tree / name, os.O_RDONLY)
    try:
        assert anonymise(tree).returncode == 0
        assert os.pread(held, 1 << 20, 0).strip(b"\0") == b""
    finally:
        os.close(held)


def test_a_name_of_a_folder_is_no_option(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    tree.rename("-disk")
    done = subprocess.run(["sh", str(bake.ANONYMISE), "-disk"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path("-disk/etc/ssh/ssh_host_ed25519_key").exists()


def test_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert anonymise(tmp_path / "nothing").returncode != 0
