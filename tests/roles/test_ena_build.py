"""What does a build of the driver need on each platform, and where does it take its source from?"""

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
    assert module.packages(platforms, (DATA / platform).read_text(), kernel) == ["dkms", "gcc", "make", headers]


def test_a_platform_that_nobody_knows_has_to_have_it_all(module: ModuleType) -> None:
    assert module.packages({"debian": ["dkms"]}, (DATA / "sles-15").read_text(), "6.4.0") == []


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
    assert module.inside(name) == found
