"""The package mirror of a cloud's image is one that apt itself takes packages from."""

import subprocess
from pathlib import Path

import pytest

from harness.benches.lab.parts import package_mirror


def build_package(folder: Path, name: str) -> None:
    """A real package of one file, by dpkg-deb."""
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:4.3-2\nArchitecture: amd64\nMaintainer: Lab <lab@example.com>\n"
        "Description: a package\n with a second line\n"
    )
    subprocess.run(
        ["dpkg-deb", "--build", root, folder / f"{name}_1%3a4.3-2_amd64.deb"], check=True, capture_output=True
    )
    subprocess.run(["rm", "-r", root], check=True)


@pytest.mark.programs
def test_apt_finds_and_fetches_a_package_by_the_written_index(tmp_path: Path) -> None:
    mirror, apt = tmp_path / "mirror", tmp_path / "apt"
    mirror.mkdir()
    build_package(mirror, "chrony")
    package_mirror.write_index(mirror, "bookworm")
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [trusted=yes arch=amd64] file:{mirror} bookworm main\n")
    options = {
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc": apt / "etc",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    arguments = [f"-o{name}={value}" for name, value in options.items()]
    subprocess.run(["apt-get", *arguments, "update"], check=True, capture_output=True)
    subprocess.run(["apt-get", *arguments, "download", "chrony"], check=True, capture_output=True, cwd=tmp_path)
    fetched = next(tmp_path.glob("chrony_*.deb"))
    assert fetched.read_bytes() == next((mirror / "pool").iterdir()).read_bytes()
