"""Build the disk image that lab guests boot from: Debian with two kernels, rebuilt only when its recipe changes.

A few lab types need the wide image, which adds a compiler, kernel headers, and a third kernel with many cards' drivers.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.parts import cache_build, mmdebstrap
from harness.benches.lab.processes import process_tags
from harness.benches.lab.truths.truth_model import Kernel
from harness.system import proc

DISK_MIB = 3072
_NEEDED_MIB = 1800  # root, disk and packages during the build
_WIDER_MIB = 1200  # added by the wide image
_DEADLINE_S = 600.0
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")


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


def ensure(cache: Path, assets: Path, progress: Progress, *, wide: bool = False) -> DiskImage:
    """Return the image of the recipe in `assets`, built if absent. Raises SetupError or CommandError."""
    description, name = ("wide guest image", "image-wide-") if wide else ("guest image", "image-")
    folder = cache / (name + recipe_hash(assets, wide=wide))
    cache_build.build_once(folder, description, lambda half: _build(half, cache, assets, progress, wide=wide), progress)
    releases = json.loads((folder / "kernels.json").read_text())
    return DiskImage(folder=folder, releases={Kernel(kernel): release for kernel, release in releases.items()})


def recipe_hash(assets: Path, *, wide: bool = False) -> str:
    """Hash all that determines the image: its files with their execute bits, the disk's size, the excluded paths."""
    digest = hashlib.sha256(f"{DISK_MIB + wide * _WIDER_MIB} {_LEFT_OUT}".encode())
    for path in _recipe_files(assets, wide=wide):
        digest.update(f"{path.relative_to(assets)} {path.stat().st_mode & 0o111:o}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _recipe_files(assets: Path, *, wide: bool) -> Iterator[Path]:
    for part in ("lab/image", "lab/agent", *(["lab/image-wide"] if wide else [])):
        for path in sorted((assets / part).rglob("*")):
            if path.is_file() and path.suffix not in (".md", ".pyc"):
                yield path


def _build(half: Path, cache: Path, assets: Path, progress: Progress, *, wide: bool) -> None:
    description, pattern, duration = "guest image", "image-[!w]*", "usually 60 s"
    if wide:
        description, pattern, duration = "wide guest image", "image-wide-*", "usually 2 min"
    cache_build.require_disk(half, _NEEDED_MIB + wide * _WIDER_MIB, f"the {description}")
    earlier = [path.name for path in cache.glob(pattern) if path.is_dir() and path != half]
    progress(f"building the {description} ({'its recipe changed' if earlier else 'there is none yet'}), {duration}")
    root, recipes = half / "root", [assets / "lab/image", *([assets / "lab/image-wide"] if wide else [])]
    packages = [package for recipe in recipes for package in _packages(recipe)]
    mmdebstrap.make_root(root, cache, variant="minbase", include=packages, options=_options(recipes))
    kernels = _kernels([path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*")])
    for release in kernels.values():
        for name in (f"vmlinuz-{release}", f"initrd.img-{release}"):
            (half / name).write_bytes((root / "boot" / name).read_bytes())
    size = f"{DISK_MIB + wide * _WIDER_MIB}M"
    _inside(half, "mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "root", str(half / "disk.raw"), size)
    _inside(half, "rm", "-rf", str(root))
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


def _options(recipes: Sequence[Path]) -> list[str]:
    return [
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f'--essential-hook=sync-in "{recipes[0]}/root" /',
        *(f'--customize-hook="{recipe}/customize" "$1" "{recipe}"' for recipe in recipes),
    ]


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
