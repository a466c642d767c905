"""Are kept kernel modules only those that they are said to be, under names that no host has made?"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.programs

VERSION, SHA256 = "2.17.0", "ab" * 32
KERNEL, MACHINE = "6.12.107+deb13-cloud-amd64", "x86_64"
MODULE = b"\xfd7zXZ\x00 a module"
NAME = f"ena-2.17.0-abababababab-{KERNEL}-{MACHINE}.ko.xz"
HONEST = {
    "kernel": KERNEL,
    "machine": MACHINE,
    "module": f"/lib/modules/{KERNEL}/updates/dkms/ena.ko.xz",
    "content": base64.b64encode(MODULE).decode(),
}


class Kept:
    """The script as the role calls it."""

    def __init__(self, script: Path, folder: Path) -> None:
        self.script, self.folder = script, folder

    def __call__(self, act: str, said: object, *more: str) -> subprocess.CompletedProcess[str]:
        argv = [
            sys.executable, str(self.script), act, f"--cache={self.folder}", f"--version={VERSION}",
            f"--sha256={SHA256}", *more,
        ]  # fmt: skip
        text = said if isinstance(said, str) else json.dumps(said)
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60)

    def path(self, act: str, said: object, *more: str) -> Any:
        done = self(act, said, *more)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)["path"]

    def refusal(self, act: str, said: object) -> str:
        done = self(act, said)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert len(done.stderr) < 500
        return done.stderr.strip()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.parent.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.fixture
def kept(roles: Path, tmp_path: Path) -> Kept:
    return Kept(roles / "ena_driver/files/ena_modules.py", tmp_path / "cache/lab")


def test_a_module_is_found_again_with_its_record(kept: Kept) -> None:
    assert kept.path("find", HONEST) is None
    path = kept.path("keep", HONEST, "--host=web-1", "--origin=k3f9/web-1/1")
    assert path == str(kept.folder / NAME)
    assert kept.path("find", HONEST) == path
    assert Path(path).read_bytes() == MODULE
    record = json.loads(Path(path + ".json").read_text())
    assert record.pop("kept").endswith("+00:00")
    assert record == {
        "schema": 1,
        "version": VERSION,
        "archive_sha256": SHA256,
        "kernel": KERNEL,
        "machine": MACHINE,
        "host": "web-1",
        "origin": "k3f9/web-1/1",
        "bytes": len(MODULE),
        "sha256": hashlib.sha256(MODULE).hexdigest(),
    }
    modes = [Path(name).stat().st_mode & 0o777 for name in (kept.folder, path, path + ".json")]
    assert modes == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("end", [".ko", ".ko.xz", ".ko.zst", ".ko.gz"])
def test_each_end_has_its_beginning(kept: Kept, load: Callable[[str], ModuleType], end: str) -> None:
    beginning = load("ena_driver/files/ena_modules.py").MAGIC_BY_SUFFIX[end]
    content = base64.b64encode(beginning + b"...").decode()
    said = HONEST | {"module": "/x/ena" + end, "content": content}
    assert kept.path("keep", said) == str(kept.folder / NAME).removesuffix(".ko.xz") + end
    wrong = base64.b64encode(b"#!/bin/sh").decode()
    assert "what is none" in kept.refusal("keep", said | {"content": wrong})


def test_one_that_was_changed_is_not_used(kept: Kept) -> None:
    path = Path(kept.path("keep", HONEST))
    path.write_bytes(MODULE + b"!")
    assert kept.path("find", HONEST) is None
    kept.path("keep", HONEST)
    assert kept.path("find", HONEST) == str(path)


@pytest.mark.parametrize("key", ["version", "archive_sha256", "kernel", "machine", "sha256"])
def test_one_whose_record_tells_of_another_is_not_used(kept: Kept, key: str) -> None:
    record = Path(kept.path("keep", HONEST) + ".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {key: "another"}))
    assert kept.path("find", HONEST) is None


@pytest.mark.parametrize("text", [None, "", "[]", "{", "null", "[" * 100_000])
def test_one_without_a_record_is_not_used(kept: Kept, text: str | None) -> None:
    record = Path(kept.path("keep", HONEST) + ".json")
    record.unlink()
    if text is not None:
        record.write_text(text)
    assert kept.path("find", HONEST) is None


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_one_that_others_can_write_is_not_used(kept: Kept, mode: int) -> None:
    path = Path(kept.path("keep", HONEST))
    path.chmod(mode)
    assert kept.path("find", HONEST) is None
    path.chmod(0o600)
    kept.folder.chmod(0o700 | mode & 0o022)
    assert kept.path("find", HONEST) is None


def test_a_link_is_not_used(kept: Kept, tmp_path: Path) -> None:
    path = Path(kept.path("keep", HONEST))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.path("find", HONEST) is None


def test_another_archive_of_the_same_version_is_another_module(kept: Kept) -> None:
    kept.path("keep", HONEST)
    assert kept.path("find", HONEST, f"--sha256={'cd' * 32}") is None
    assert kept.path("find", HONEST, f"--sha256={'ab' * 6 + 'cd' * 26}") is None  # of the same first digits


CANNOT_BE = [
    "../../../home/.ssh/authorized_keys", "/etc/passwd", "..", "6.1/..", "a..b", "", " ", "a\n", "a b", "-x", ".x",
    "a\0b", "{{ lookup('pipe', 'touch /tmp/x') }}", "*", "[a-z]", "\udc80", "ü", "x" * 66, "x" * 1_000_000, None, 1,
    1.5, True, [], ["x"], {}, {"x": "y"},
]  # fmt: skip
NO_MODULES = [
    "/x/e.ko/../../../home/.ssh/authorized_keys", "/x/ena.ko.sh", "/x/ena.ko.xz\n", "/x/ena.KO", ".ko.", "",
    "x" * 100_000, None, 7, [".ko"], {},
]  # fmt: skip
NO_CONTENTS = ["", "....", "ü", None, 5, [], {"a": 1}]


def test_what_the_host_says_does_not_become_a_path(kept: Kept) -> None:
    for said, why in (
        (HONEST | {"kernel": CANNOT_BE[0]}, "the host says of the release of its kernel '../../../home/.ssh/auth"),
        (HONEST | {"machine": CANNOT_BE[0]}, "the host says of its machine '../../../home/.ssh/auth"),
    ):
        assert why in kept.refusal("find", said)
        assert why in kept.refusal("keep", said)
    assert "whose name ends like no module's" in kept.refusal("keep", HONEST | {"module": NO_MODULES[0]})
    assert kept.refusal("keep", HONEST | {"content": "...."}).startswith("the host does not give its module in base64")
    assert kept.files() == []


@pytest.mark.parametrize("key", ["kernel", "machine"])
@pytest.mark.parametrize("value", CANNOT_BE, ids=lambda value: ascii(value)[:30])
def test_what_is_no_word(load: Callable[[str], ModuleType], key: str, value: object) -> None:
    module = load("ena_driver/files/ena_modules.py")
    pinned = argparse.Namespace(version=VERSION, sha256=SHA256)
    assert module.describe_module(pinned, HONEST)["kernel"] == KERNEL
    with pytest.raises(module.Refused, match="which cannot be") as refused:
        module.describe_module(pinned, HONEST | {key: value})
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [("module", value) for value in NO_MODULES] + [("content", value) for value in NO_CONTENTS],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_no_module(load: Callable[[str], ModuleType], tmp_path: Path, key: str, value: object) -> None:
    module = load("ena_driver/files/ena_modules.py")
    about = module.describe_module(argparse.Namespace(version=VERSION, sha256=SHA256), HONEST)
    with pytest.raises(module.Refused):
        module.keep(str(tmp_path / "kept"), about, HONEST | {key: value}, host="", origin="")
    assert list(tmp_path.iterdir()) == []


def test_a_module_has_a_bounded_size(kept: Kept) -> None:
    content = base64.b64encode(b"\xfd7zXZ\x00" + bytes(32 << 20)).decode()
    assert "one has from 1 to 33554432" in kept.refusal("keep", HONEST | {"content": content})
    assert "more than 33554432 bytes" in kept.refusal("keep", HONEST | {"content": content + "A" * (2 << 20)})
    assert kept.files() == []


@pytest.mark.parametrize("text", ["", "nothing", "[]", "1", "[" * 100_000, '{"kernel": NaN'])
def test_what_is_no_object(kept: Kept, text: str) -> None:
    assert "is no JSON" in kept.refusal("find", text)


def test_a_folder_of_before_is_made_private(kept: Kept) -> None:
    kept.folder.mkdir(parents=True, mode=0o755)
    kept.folder.chmod(0o755)
    path = kept.path("keep", HONEST)
    assert (kept.path("find", HONEST), kept.folder.stat().st_mode & 0o777) == (path, 0o700)
