"""A program that serves a guest is nobody of this machine, sees its own files alone, and gains nothing."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from harness.benches.lab.processes import confinement
from harness.benches.lab.processes.confinement import FIRST_USER, SHARED_GROUP, USERS, FileView

ROOT = Path(__file__).parents[5]
as_root = pytest.mark.skipif(
    not confinement.can_confine(), reason=f"needs root's rights: {confinement.why_not_confined()}"
)
TELL = """
import json, os, socket, sys
def attempt(act):
    try:
        return act()
    except OSError as error:
        return error.strerror
def listen(port):
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", port))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "rights": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "listen": attempt(lambda: listen(2)),
    "reads": {path: attempt(lambda: open(path).read()) for path in sys.argv[1].split()},
    "writes": {path: attempt(lambda: open(path, "w").write("x")) for path in sys.argv[2].split()},
    "root": sorted(os.listdir("/")),
    "devices": attempt(lambda: open("/dev/urandom", "rb").read(1) and open("/dev/null", "w").write("x")),
}))
"""


def told(folder: Path, view: FileView, *, read: list[Path], write: list[Path]) -> dict[str, object]:
    """What a confined program finds out about itself and those paths."""
    program = [str(confinement.INTERPRETER), "-c", TELL, " ".join(map(str, read)), " ".join(map(str, write))]
    done = subprocess.run(confinement.command(program, folder, view), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


@as_root
def test_a_confined_program_has_a_user_of_its_own_and_sees_what_it_was_shown(tmp_path: Path) -> None:
    shown, own, hidden, copied = (tmp_path / name for name in ("shown", "own", "hidden", "copied"))
    for folder in (shown, own, hidden, copied):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
        (folder / "file").chmod(0o600)
    confinement.share_read_only(shown)
    confinement.give_to_guest(own, own / "file")
    (own / "roots").write_text("root's")
    (own / "roots").chmod(0o600)
    view = FileView(read=(*confinement.python_view(), shown, Path("/proc")), write=(own,), copy=(copied,))
    files = [folder / "file" for folder in (shown, own, hidden, copied)]
    seen = told(own, view, read=[*files, own / "roots", Path("/etc/shadow")], write=[*files, own / "new"])
    user = confinement.guest_uid(own)
    assert seen["ids"] == [[user] * 3, [user] * 3, [SHARED_GROUP]]
    assert seen["rights"] == ["0" * 16] * 5 + ["1"]
    assert (seen["interfaces"], seen["listen"], seen["devices"]) == (["lo"], "Permission denied", 1)
    assert list(seen["reads"].values()) == [  # type: ignore[attr-defined]
        "shown",
        "own",
        "No such file or directory",
        "copied",
        "Permission denied",
        "No such file or directory",
    ]
    assert list(seen["writes"].values()) == [  # type: ignore[attr-defined]
        "Read-only file system",
        1,
        "No such file or directory",
        "Read-only file system",
        "Permission denied",
    ]
    assert {"root", "home", "boot", "srv", "var"} & set(seen["root"]) <= {Path(sys.base_prefix).parts[1]}  # type: ignore[call-overload]


@as_root
def test_a_package_in_a_folder_that_is_shown_is_seen_whatever_its_modes(tmp_path: Path) -> None:
    """As of the installed command, whose Python has the package of the emulated card in its own folder."""
    shown = tmp_path / "shown"
    package = shown / "package"
    package.mkdir(parents=True)
    (package / "file").write_text("copied")
    (package / "file").chmod(0o600)
    view = FileView(read=(*confinement.python_view(), shown, Path("/proc")), copy=(package,))
    seen = told(tmp_path, view, read=[package / "file"], write=[package / "file"])
    assert seen["reads"] == {str(package / "file"): "copied"}
    assert seen["writes"] == {str(package / "file"): "Permission denied"}
    assert (package / "file").read_text() == "copied"


@as_root
def test_a_capability_that_was_asked_for_is_the_only_one(tmp_path: Path) -> None:
    view = FileView(read=(*confinement.python_view(), Path("/proc")), network=True, capabilities=("net_bind_service",))
    seen = told(tmp_path, view, read=[], write=[])
    assert seen["rights"] == ["0000000000000400"] * 5 + ["1"]
    assert seen["listen"] is None


@as_root
def test_nothing_of_it_is_left_on_the_machine(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    told(tmp_path, FileView(read=(*confinement.python_view(), Path("/proc"))), read=[], write=[])
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what root without a right does")
def test_root_that_may_not_mount_says_so_and_runs_programs_as_they_are(tmp_path: Path) -> None:
    ask = (
        "from pathlib import Path; from harness.benches.lab.processes import confinement as c;"
        "print(c.describe()); print(c.command(['a', 'b'], Path('/h'), c.FileView()))"
    )
    words = ["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-c", ask]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=ROOT)
    sentence, command = done.stdout.splitlines()
    assert sentence.startswith("guests run as root, since this machine cannot confine them: confine: ")
    assert sentence.endswith("Operation not permitted")
    assert command == "['/usr/bin/setpriv', '--no-new-privs', '--', 'a', 'b']"


def test_each_guest_has_a_user_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    users = {confinement.guest_uid(Path(f"/hosts/{number}")) for number in range(50)}
    assert len(users) > 45
    assert all(FIRST_USER <= user < FIRST_USER + USERS for user in users)
    first = confinement.guest_uid(Path("/hosts/1"))
    assert confinement.guest_uid(Path("/hosts/1")) == first
    known = pwd.getpwuid(0)

    def lookup(uid: int) -> pwd.struct_passwd:
        if uid == first:
            return known
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", lookup)
    assert confinement.guest_uid(Path("/hosts/1")) == FIRST_USER + (first + 1 - FIRST_USER) % USERS


def test_whose_processes_may_be_ours() -> None:
    assert confinement.is_lab_uid(os.geteuid())
    asked = (FIRST_USER - 1, FIRST_USER, FIRST_USER + USERS - 1, FIRST_USER + USERS)
    root = os.geteuid() == 0
    assert [confinement.is_lab_uid(uid) for uid in asked] == [False, root, root, False]
    assert not confinement.is_lab_uid(os.geteuid() + 1)
