"""Make an image whose command has scripted hosts: that of `make image`, with this checkout's code in it."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.containers import IMAGE, buildah, read_image

ROOT = Path(__file__).parents[2]
NAME = "ptp-harness:scripted"
_CODE = "/opt/tests"
_PACKAGES = ("_pytest", "pytest", "pluggy", "iniconfig", "pygments", "py")
"""What the scripted command imports, and the image of `make image` does not have."""


def write_archive(archive: Path) -> None:
    """Write the image as `docker save` does; skips the test where `changed_image` does."""
    with changed_image(archive, NAME) as (container, root):
        _add_packages(replace_code(root))
        for name in ("programs", "doubles", "servers"):
            shutil.copytree(ROOT / "tests" / name, root / _CODE.lstrip("/") / "tests" / name, ignore=_ignored)
        entrypoint = '["python3", "-m", "tests.programs.scripted_command"]'
        environ = [f"--env=PYTHONPATH={_CODE}", "--env=PTP_TEST_FOLDER=/tmp/scripted"]
        buildah("config", "--entrypoint", entrypoint, *environ, "--cmd", "", container)


@contextmanager
def changed_image(archive: Path, name: str, base: str = IMAGE) -> Iterator[tuple[str, Path]]:
    """Yield a container of an image and the folder of its files; write both as an image of `name`.

    Skips the test where the image of this version cannot be had.
    """
    read_image()
    container = buildah("from", "--pull-never", base)
    try:
        yield container, Path(buildah("mount", container))
        image = buildah("commit", "--quiet", "--format", "docker", container)
        buildah("push", "--quiet", image, f"docker-archive:{archive}:{name}")
        buildah("rmi", image)
    finally:
        buildah("rm", container)


def replace_code(root: Path) -> Path:
    """Put the code of this checkout in place of what is installed; return the folder of the installed packages."""
    (installed,) = root.glob("opt/ptp-harness/lib/python3*/site-packages")
    for path in (installed / "harness").iterdir():
        if path.name != "_assets":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(ROOT / "harness", installed / "harness", ignore=_ignored, dirs_exist_ok=True)
    shutil.copytree(ROOT / "roles", installed / "harness" / "_assets" / "roles", ignore=_ignored, dirs_exist_ok=True)
    return installed


def _add_packages(installed: Path) -> None:
    """Add the packages that tests need."""
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, installed / name, ignore=_ignored, dirs_exist_ok=True)
        else:
            shutil.copy(origin, installed)
    metadata = next(iter(Path(pytest.__file__).parents[1].glob("pytest-*.dist-info")))
    shutil.copytree(metadata, installed / metadata.name, dirs_exist_ok=True)  # pytest asks for its own version


_ignored = shutil.ignore_patterns("__pycache__")
