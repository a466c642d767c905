"""Is a campaign's driver looked at before a machine is made, and what is the role told of it?"""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import campaign
from harness.campaign.choices import DriverChoice, DriverSource
from harness.errors import RequestError
from harness.host import driver_archive
from harness.model import Machine, Offer, Placement, Token
from harness.system import settings
from harness.system.settings import Settings


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


def told(choice: DriverChoice, here: Settings, bench: str = "lab", image: str | None = None) -> dict[str, Any]:
    """What the role is told for a machine of a bench."""
    asked = campaign.from_mapping({"bench": "lab", "instance_types": ["lab.good"]})
    machine = Machine(
        token=Token(run="k3f9", host="web-1"), instance_type="x", address="192.0.2.1", port=22, user="root",
        private_key=None, known_host="", second_opinion=None, placement=Placement(precise=None, detail=""), claim=None,
        offer=Offer(available=True, where="here"), image=image,
    )  # fmt: skip
    return dict(driver_archive.role_variables(replace(asked, bench=bench, driver=choice), machine, here))


def test_nothing_is_asked_for(here: Settings) -> None:
    choice = DriverChoice(source=DriverSource.DISTRIBUTION)
    assert driver_archive.ensure(choice, here) == choice
    assert told(choice, here) == {}


def test_an_archive_beside_us(here: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive.parent)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    choice = driver_archive.ensure(chosen("ena.tar.gz", sha256), here)
    assert told(choice, here) == {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(archive),
        "ena_driver_sha256": sha256,
        "ena_driver_cache": str(here.cache_dir / "ena"),
        "ena_driver_modules_cache": str(here.cache_dir / "ena/modules/lab"),
        "ena_driver_modules_origin": "k3f9/web-1/1",
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
    assert told(choice, here) == {
        "ena_driver_source": "release",
        "ena_driver_release": "2.17.0",
        "ena_driver_sha256": "a" * 64,
        "ena_driver_cache": str(here.cache_dir / "ena"),
        "ena_driver_modules_cache": str(here.cache_dir / "ena/modules/lab"),
        "ena_driver_modules_origin": "k3f9/web-1/1",
    }


@pytest.mark.parametrize(
    ("bench", "image", "folder"),
    [
        ("lab", None, "ena/modules/lab"),
        ("ec2", "ami-0123456789abcdef0", "ena/modules/ec2-ami-0123456789abcdef0"),
        ("ec2", "ami-0fedcba9876543210", "ena/modules/ec2-ami-0fedcba9876543210"),
        ("ec2", None, None),
        ("ec2", "../../lab", None),
        ("ec2", "ami-0123456789abcdef0/..", None),
        ("hosts", None, None),
        ("hosts", "ami-0123456789abcdef0", None),
    ],
)
def test_modules_are_shared_by_hosts_that_we_made_of_one_image_and_by_no_others(
    here: Settings, bench: str, image: str | None, folder: str | None
) -> None:
    said = told(chosen("https://example.com/ena.tar.gz", "a" * 64), here, bench, image)
    assert said["ena_driver_modules_cache"] == (str(here.cache_dir / folder) if folder else "")


@pytest.mark.parametrize("url", ["https://me:secret@example.com/ena.tar.gz", "https://me@example.com", "HTTPS://:x@h/"])
def test_a_password_in_a_url_is_refused_and_not_repeated(here: Settings, url: str) -> None:
    with pytest.raises(RequestError, match="has a user name or password in it") as refused:
        driver_archive.ensure(chosen(url, "a" * 64), here)
    assert "secret" not in str(refused.value)
    assert not here.cache_dir.exists()


def test_an_at_sign_in_a_path_is_no_password(here: Settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        driver_archive.ensure(chosen(str(tmp_path / "me@home.tar.gz")), here)


@pytest.mark.parametrize("source", [DriverSource.ARCHIVE, DriverSource.RELEASE])
def test_a_value_does_not_become_an_option(
    here: Settings, source: DriverSource, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("--help", "--from-this-machine", "-h"):
        with pytest.raises(RequestError, match=r"cannot be read: No such file|is no release of the ENA driver"):
            driver_archive.ensure(replace(chosen(value), source=source), here)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/ena.tar.gz", "https://127.0.0.1:1/ena.tar.gz", "file:///etc/hostname"]
)
def test_no_campaign_reaches_this_machine_or_its_files_by_a_url(here: Settings, url: str) -> None:
    with pytest.raises(RequestError, match=r"is not a public one|comes by https:// or is a file at hand"):
        driver_archive.ensure(chosen(url), here)
