"""Make an image with this checkout's code, its recipes and roles: that of `make image`, whose lab is the real one."""

import shutil
import tomllib
from pathlib import Path

from tests.servers.scripted_image import ROOT, changed_image, replace_code

NAME = "ptp-harness:lab"


def write_archive(archive: Path) -> None:
    """Write the image as `docker save` does; skips the test where `changed_image` does."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    with changed_image(archive, NAME) as (_, root):
        installed = replace_code(root)
        for source, target in {**wheel["sources"], **wheel["force-include"]}.items():
            place = installed / target
            if (ROOT / source).is_dir():
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)
