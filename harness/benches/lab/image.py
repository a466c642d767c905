"""What do lab guests boot from? A Debian root with two kernels on one disk, rebuilt only when its recipe changes."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import proc
from harness.bench import Progress
from harness.benches.lab import built, marks, mmdebstrap
from harness.benches.lab.truth import Kernel

DISK_MIB = 3072
_NEEDED_MIB = 1800  # root, disk and packages while it is made
_DEADLINE_S = 600.0
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A whole image. `releases` names each kernel's release, as `uname -r` says it."""

    folder: Path
    releases: dict[Kernel, str]

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    def kernel(self, kernel: Kernel) -> Path:
        return self.folder / f"vmlinuz-{self.releases[kernel]}"

    def initrd(self, kernel: Kernel) -> Path:
        return self.folder / f"initrd.img-{self.releases[kernel]}"


def ensure(cache: Path, assets: Path, progress: Progress) -> Image:
    """The image of the recipe in `assets`. Raises SetupError or CommandError."""
    name = f"image-{recipe_hash(assets)}"
    folder = built.once(cache / name, "guest image", lambda half: _build(half, cache, assets, progress), progress)
    releases = json.loads((folder / "kernels.json").read_text())
    return Image(folder=folder, releases={Kernel(kernel): release for kernel, release in releases.items()})


def recipe_hash(assets: Path) -> str:
    """Changes with every file that goes into the image, and with nothing else."""
    digest = hashlib.sha256(f"{DISK_MIB} {_LEFT_OUT}".encode())
    for path in _recipe_files(assets):
        digest.update(f"{path.relative_to(assets)} {path.stat().st_mode & 0o111:o}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _recipe_files(assets: Path) -> Iterator[Path]:
    for part in ("lab/image", "lab/agent"):
        for path in sorted((assets / part).rglob("*")):
            if path.is_file() and path.suffix not in (".md", ".pyc"):
                yield path


def _build(half: Path, cache: Path, assets: Path, progress: Progress) -> None:
    built.room(half, _NEEDED_MIB, "the guest image")
    others = [path.name for path in cache.glob("image-*") if path.is_dir() and path != half]
    progress(f"building the guest image ({'its recipe changed' if others else 'there is none yet'}), about a minute")
    root, recipe = half / "root", assets / "lab/image"
    mmdebstrap.run(root, cache, variant="minbase", include=_packages(recipe), options=_options(recipe))
    releases = sorted((path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*")), key=_numbers)
    kernels = {Kernel.STABLE: releases[0], Kernel.BACKPORTS: releases[-1]}
    for release in releases:
        for name in (f"vmlinuz-{release}", f"initrd.img-{release}"):
            (half / name).write_bytes((root / "boot" / name).read_bytes())
    _inside(half, "mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "root", str(half / "disk.raw"), f"{DISK_MIB}M")
    _inside(half, "rm", "-rf", str(root))
    (half / "kernels.json").write_text(json.dumps(kernels))


def _inside(half: Path, *argv: str) -> None:
    proc.run([*mmdebstrap.inside(), *argv], timeout_s=_DEADLINE_S, env={**marks.environment(half, "build"), **_SBIN})


_SBIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}  # mke2fs is not on everybody's path


def _packages(recipe: Path) -> list[str]:
    lines = (recipe / "packages.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _options(recipe: Path) -> list[str]:
    return [
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f'--essential-hook=sync-in "{recipe}/root" /',
        f'--customize-hook="{recipe}/customize" "$1" "{recipe}"',
    ]


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
