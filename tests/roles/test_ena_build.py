"""What does a build of the driver need on each platform, and where does it take its source from?"""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

DATA = Path(__file__).parent / "data/os-release"


@pytest.fixture(scope="module")
def module(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("ena_driver/library/ena_build.py")


@pytest.mark.parametrize(
    ("platform", "kernel", "headers"),
    [
        ("amzn-2023", "6.1.155-176.282.amzn2023.x86_64", "kernel-devel-6.1.155-176.282.amzn2023.x86_64"),
        ("amzn-2023", "6.12.55-74.119.amzn2023.aarch64", "kernel6.12-devel-6.12.55-74.119.amzn2023.aarch64"),
        ("debian-12", "6.1.0-41-cloud-amd64", "linux-headers-6.1.0-41-cloud-amd64"),
        ("debian-13", "6.12.107+deb13-cloud-amd64", "linux-headers-6.12.107+deb13-cloud-amd64"),
        ("ubuntu-22.04", "6.8.0-1040-aws", "linux-headers-6.8.0-1040-aws"),
        ("ubuntu-24.04", "6.14.0-1015-aws", "linux-headers-6.14.0-1015-aws"),
        ("rhel-9", "5.14.0-570.49.1.el9_6.x86_64", "kernel-devel-5.14.0-570.49.1.el9_6.x86_64"),
        ("rocky-9", "5.14.0-570.49.1.el9_6.x86_64", "kernel-devel-5.14.0-570.49.1.el9_6.x86_64"),
    ],
)
def test_what_a_build_needs(module: ModuleType, roles: Path, platform: str, kernel: str, headers: str) -> None:
    platforms = yaml.safe_load((roles / "ena_driver/vars/main.yml").read_text())["__ena_driver_build_packages"]
    assert module.select_packages(platforms, (DATA / platform).read_text(), kernel) == ["dkms", "gcc", "make", headers]


def test_a_platform_that_nobody_knows_has_to_have_it_all(module: ModuleType) -> None:
    assert module.select_packages({"debian": ["dkms"]}, (DATA / "sles-15").read_text(), "6.4.0") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("amzn-drivers-ena_linux_2.17.0/kernel/linux/ena/Makefile", "kernel/linux/ena/Makefile"),
        ("./amzn-drivers/kernel/linux/ena/Makefile", "kernel/linux/ena/Makefile"),
        ("kernel/linux/common/ena_com/ena_com.c", "kernel/linux/common/ena_com/ena_com.c"),
        ("README.md", ""),
    ],
)
def test_the_archives_top_folder_does_not_count(module: ModuleType, name: str, found: str) -> None:
    assert module.strip_top_folder(name) == found


class Task(Exception):
    """A task that failed."""


class Asked:
    """What the module sees of Ansible."""

    def __init__(self, **params: object) -> None:
        self.params = {"version": "2.17.0", "sha256": "a" * 64, "built": None} | params

    def fail_json(self, msg: str) -> None:
        raise Task(msg)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "../../x"}, {"version": ""}, {"version": "2.17.0\n"}, {"version": "-1.2"}, {"sha256": "a"},
        {"sha256": "A" * 64}, {"built": "/x/ena.ko.sh"}, {"built": "/x/ena.ko/../x"}, {"built": "/x/ena.ko.xz\n"},
    ],
    ids=str,
)  # fmt: skip
def test_what_would_become_another_path_is_refused(module: ModuleType, wrong: dict[str, str]) -> None:
    module.check_params(Asked())
    module.check_params(Asked(built="/var/lib/ptp-harness/ena-2.17.0.ko.xz"))
    with pytest.raises(Task):
        module.check_params(Asked(**wrong))


def packed(folder: Path) -> Path:
    """An archive with more in it than the driver."""
    path = folder / "ena.tar.gz"
    with tarfile.open(path, "w:gz") as out:

        def add(name: str, text: str = "", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname, member.mode = len(text), kind, link, mode
            out.addfile(member, io.BytesIO(text.encode()))

        add("top/kernel/linux/ena/Makefile", "all:\n")
        add("top/kernel/linux/ena/configure", "#!/bin/sh\n", mode=0o4777)
        add("top/kernel/linux/ena/../../../../escaped", "x")
        add("/kernel/linux/ena/absolute", "x")
        add("top/kernel/linux/ena/link", kind=tarfile.SYMTYPE, link=str(folder / "elsewhere"))
        add("top/kernel/linux/ena/link/x", "x")
        add("top/kernel/linux/common/hard", kind=tarfile.LNKTYPE, link="top/kernel/linux/ena/Makefile")
        add("top/kernel/linux/ena/pipe", kind=tarfile.FIFOTYPE)
        add("top/kernel/linux/efa/other", "x")
    return path


def test_only_the_drivers_own_files_are_unpacked(module: ModuleType, tmp_path: Path) -> None:
    path, source = packed(tmp_path), tmp_path / "source"
    (tmp_path / "elsewhere").mkdir()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    module.unpack(Asked(sha256=sha256), str(path), str(source))
    found = {str(p.relative_to(tmp_path)): p.stat().st_mode & 0o7777 for p in tmp_path.rglob("*") if p.is_file()}
    del found["ena.tar.gz"]
    assert found == {
        "source/kernel/linux/ena/Makefile": 0o644,
        "source/kernel/linux/ena/absolute": 0o644,
        "source/kernel/linux/ena/configure": 0o755,
        "source/kernel/linux/ena/link/x": 0o644,
    }
    assert not (source / "kernel/linux/ena/link").is_symlink()


def test_another_archive_than_was_looked_at_is_not_unpacked(module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Task, match="has another checksum on this host"):
        module.unpack(Asked(), str(packed(tmp_path)), str(tmp_path / "source"))
    assert not (tmp_path / "source").exists()


def test_what_is_unpacked_is_bounded(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path)
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(Task, match="unpacks to more than 10 bytes"):
        module.unpack(Asked(sha256=hashlib.sha256(path.read_bytes()).hexdigest()), str(path), str(tmp_path / "source"))


AL2023 = (
    "Linux version 6.12.55-74.119.amzn2023.x86_64 (mockbuild@ip-10-0-0-1) (gcc (GCC) 14.2.1 20250110, GNU ld) #1 SMP"
)
DEBIAN = "Linux version 6.12.48+deb13-amd64 (x@y) (x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0, GNU ld) #1 SMP"
OPTION = "gcc: error: unrecognized command-line option '-fmin-function-alignment=16'"


@pytest.mark.parametrize(
    ("reason", "version", "hint"),
    [
        (OPTION, AL2023, "; the running kernel was built by gcc 14.2.1: install that compiler on the host"),
        (
            OPTION, DEBIAN,
            "; the running kernel was built by x86_64-linux-gnu-gcc-14 14.2.0: install that compiler on the host",
        ),
        (OPTION, "", ""),
        ("ena_netdev.c:1: error: implicit declaration", AL2023, ""),
        (
            "gcc: fatal error: Killed signal terminated program cc1", DEBIAN,
            "; the compiler was killed, as where memory runs out: choose a size with at least 1 GiB, or give it swap",
        ),
    ],
)  # fmt: skip
def test_a_compiler_that_does_not_fit_or_was_killed_has_its_remedy(
    module: ModuleType, reason: str, version: str, hint: str
) -> None:
    assert module.explain_compiler(reason, version) == hint
