"""Build the disk images that lab guests boot from, each rebuilt only when its recipe changes.

The lab's own image is Debian with two kernels and all that the roles need. The wide image adds a compiler, kernel
headers, and a third kernel with many cards' drivers. A cloud's image is Debian with cloud-init instead, and with a
mirror of the packages that the roles install.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.parts import apt_sources, cache_build, mmdebstrap, package_mirror
from harness.benches.lab.processes import process_tags
from harness.benches.lab.truths.truth_model import Image, Kernel
from harness.system import proc

_DEADLINE_S = 600.0
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_MIRROR = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe of an image: folders below the assets, of which the first ones have packages.txt and customize.

    `files` holds further folders on which the image depends; `needed_mib` is the disk space for the build.
    """

    description: str
    layers: tuple[str, ...]
    files: tuple[str, ...]
    release: str = apt_sources.DEBIAN_13
    disk_mib: int = 3072
    needed_mib: int = 1800
    usually: str = "2 min"


_LAB_FILES = ("lab/agent",)
_CLOUD_LAYERS, _CLOUD_FILES = ("lab/image-cloud",), ("lab/agent", "lab/image")
RECIPES: Mapping[Image, Recipe] = {
    Image.LAB: Recipe(description="guest image", layers=("lab/image",), files=_LAB_FILES, usually="60 s"),
    Image.WIDE: Recipe(
        description="wide guest image",
        layers=("lab/image", "lab/image-wide"),
        files=_LAB_FILES,
        disk_mib=4272,
        needed_mib=3000,
    ),
    Image.DEBIAN_13: Recipe(description="cloud image of Debian 13", layers=_CLOUD_LAYERS, files=_CLOUD_FILES),
    Image.DEBIAN_12: Recipe(
        description="cloud image of Debian 12",
        layers=_CLOUD_LAYERS,
        files=_CLOUD_FILES,
        release=apt_sources.DEBIAN_12,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskImage:
    """A complete image. `releases` maps each kernel to its release, as in `uname -r`."""

    folder: Path
    releases: dict[Kernel, str]

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    def kernel(self, kernel: Kernel) -> Path:
        return self.folder / f"vmlinuz-{self.releases[kernel]}"

    def initrd(self, kernel: Kernel) -> Path:
        return self.folder / f"initrd.img-{self.releases[kernel]}"

    @property
    def mirror(self) -> Path:
        """The package mirror of a cloud's image."""
        return self.folder / _MIRROR


def ensure(cache: Path, assets: Path, progress: Progress, image: Image = Image.LAB) -> DiskImage:
    """Return the image of its recipe in `assets`, built if absent. Raises SetupError or CommandError."""
    recipe = RECIPES[image]
    folder = cache / f"{image}-{recipe_hash(assets, recipe)}"
    cache_build.build_once(
        folder, recipe.description, lambda half: _build(half, cache, assets, progress, image), progress
    )
    releases = json.loads((folder / "kernels.json").read_text())
    return DiskImage(folder=folder, releases={Kernel(kernel): release for kernel, release in releases.items()})


def recipe_hash(assets: Path, recipe: Recipe) -> str:
    """Hash all that determines the image: its files with their execute bits, the disk's size, the excluded paths."""
    digest = hashlib.sha256(f"{recipe.release} {recipe.disk_mib} {_LEFT_OUT}".encode())
    for path in _recipe_files(assets, recipe):
        digest.update(f"{path.relative_to(assets)} {path.stat().st_mode & 0o111:o}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _recipe_files(assets: Path, recipe: Recipe) -> Iterator[Path]:
    for part in (*recipe.layers, *recipe.files):
        for path in sorted((assets / part).rglob("*")):
            if path.is_file() and path.suffix not in (".md", ".pyc"):
                yield path


def _build(half: Path, cache: Path, assets: Path, progress: Progress, image: Image) -> None:
    recipe = RECIPES[image]
    cache_build.require_disk(half, recipe.needed_mib, f"the {recipe.description}")
    earlier = [path for path in cache.glob(f"{image}-{'[0-9a-f]' * 12}") if path.is_dir()]
    reason = "its recipe changed" if earlier else "there is none yet"
    progress(f"building the {recipe.description} ({reason}), usually {recipe.usually}")
    root, layers = half / "root", [assets / layer for layer in recipe.layers]
    mmdebstrap.make_root(
        root,
        cache,
        suite=recipe.release,
        variant="minbase",
        include=[package for layer in layers for package in _packages(layer)],
        options=_options(layers, half / _MIRROR if image.by_cloud_init else None),
        progress=progress,
    )
    kernels = _kernels([path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*")])
    for release in kernels.values():
        for name in (f"vmlinuz-{release}", f"initrd.img-{release}"):
            (half / name).write_bytes((root / "boot" / name).read_bytes())
    disk = str(half / "disk.raw")
    _inside(half, "mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "root", disk, f"{recipe.disk_mib}M")
    _inside(half, "rm", "-rf", str(root))
    if image.by_cloud_init:
        package_mirror.write_index(half / _MIRROR, recipe.release)
    (half / "kernels.json").write_text(json.dumps(kernels))


def _kernels(releases: Sequence[str]) -> dict[Kernel, str]:
    """Map kernels to releases: STABLE is the older cloud kernel, BACKPORTS the newer, GENERIC (if any) another."""
    cloud = sorted((release for release in releases if "cloud" in release), key=_numbers)
    generic = [release for release in releases if "cloud" not in release]
    return {
        Kernel.STABLE: cloud[0],
        Kernel.BACKPORTS: cloud[-1],
        **({Kernel.GENERIC: generic[0]} if generic else {}),
    }


def _inside(half: Path, *argv: str) -> None:
    proc.run(
        [*mmdebstrap.command_prefix(), *argv],
        timeout_s=_DEADLINE_S,
        env={**process_tags.environment(half, "build"), **_SBIN},
    )


_SBIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}  # not every user's PATH holds mke2fs


def _packages(recipe: Path) -> list[str]:
    lines = (recipe / "packages.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _options(layers: Sequence[Path], mirror: Path | None) -> list[str]:
    """Make mmdebstrap's options. The packages that a layer leaves in /mirror are moved to `mirror`."""
    move = (f'--customize-hook=sync-out /mirror "{mirror}"', '--customize-hook=rm -r "$1/mirror"')
    return [
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f'--essential-hook=sync-in "{layers[0]}/root" /',
        *(f'--customize-hook="{layer}/customize" "$1" "{layer}"' for layer in layers),
        *(move if mirror else ()),
    ]


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
