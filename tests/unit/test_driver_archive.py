"""Is a campaign's driver looked at before a machine is made, and what is the role told of it?"""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from harness import driver_archive, settings
from harness.campaign import DriverChoice, DriverSource
from harness.errors import RequestError
from harness.settings import Settings


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return settings.load({"PTP_HARNESS_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What the check looks for in a release of the driver."""
    files = {
        "Makefile": "",
        "ena_phc.c": "",
        "ena_netdev.h": "".join(f"#define DRV_MODULE_GEN_{part} 2\n" for part in ("MAJOR", "MINOR", "SUBMINOR")),
    }
    path = tmp_path / "ena.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            member = tarfile.TarInfo(f"top/kernel/linux/ena/{name}")
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    return path


def chosen(value: str, sha256: str | None = None) -> DriverChoice:
    return DriverChoice(source=DriverSource.ARCHIVE, value=value, sha256=sha256)


def test_nothing_is_asked_for(here: Settings) -> None:
    choice = DriverChoice(source=DriverSource.DISTRIBUTION)
    assert driver_archive.ensure(choice, here) == choice
    assert driver_archive.role_variables(choice, here) == {}


def test_an_archive_beside_us(here: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive.parent)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    choice = driver_archive.ensure(chosen("ena.tar.gz", sha256), here)
    assert driver_archive.role_variables(choice, here) == {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(archive),
        "ena_driver_sha256": sha256,
        "ena_driver_cache": str(here.cache_dir / "ena"),
    }


def test_another_archive_is_refused_before_anything_is_made(here: Settings, archive: Path) -> None:
    with pytest.raises(RequestError, match=r"is another one: its sha256 is [0-9a-f]{64}, not 0000"):
        driver_archive.ensure(chosen(str(archive), "0" * 64), here)


def test_an_archive_that_is_no_driver(here: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(RequestError, match=r"notes\.txt is no tar archive"):
        driver_archive.ensure(chosen(str(tmp_path / "notes.txt")), here)


def test_a_release_is_told_by_its_number(here: Settings) -> None:
    choice = DriverChoice(source=DriverSource.RELEASE, value="2.17.0", sha256="a" * 64)
    assert driver_archive.role_variables(choice, here) == {
        "ena_driver_source": "release",
        "ena_driver_release": "2.17.0",
        "ena_driver_sha256": "a" * 64,
        "ena_driver_cache": str(here.cache_dir / "ena"),
    }
