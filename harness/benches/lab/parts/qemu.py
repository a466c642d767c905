"""Choose the QEMU that runs guests: the machine's own if it supports vfio-user, else a private copy in the cache."""

import functools
import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.parts import apt_sources, cache_build, mmdebstrap
from harness.benches.lab.parts.command_line import SANDBOX
from harness.errors import HarnessError, SetupError
from harness.system import proc

PROGRAM = "qemu-system-x86_64"
LEAST = (10, 1)  # the first release with vfio-user-pci
PACKAGES = ("qemu-system-x86", "qemu-utils", "seabios")
_NEEDED_MIB = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """How to start QEMU and its image tool.

    `system` and `img` are the beginnings of their command lines; `environment` is added to the environment.
    `folders` hold a private copy, the folder with all of the copy first; empty for the machine's own QEMU.
    `sandbox` are the arguments by which QEMU drops unneeded system calls; empty if QEMU was built without seccomp.
    """

    system: tuple[str, ...]
    img: tuple[str, ...]
    version: str
    folders: tuple[Path, ...] = ()
    sandbox: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def ensure(cache: Path, progress: Progress) -> Qemu:
    """Return a QEMU that supports vfio-user devices, unpacked if need be. Raises SetupError."""
    return system_qemu() or ensure_private(cache, progress)


def ensure_private(cache: Path, progress: Progress) -> Qemu:
    """Return the private copy of QEMU, unpacked if need be: the same on all machines. Raises SetupError."""
    return private_qemu(_private_folder(cache, progress))


def system_qemu() -> Qemu | None:
    """Return the machine's own QEMU if it supports vfio-user devices, else None."""
    system, img = shutil.which(PROGRAM), shutil.which("qemu-img")
    if system is None or img is None:
        return None
    version, sandbox = version_and_sandbox((system,), {})
    qemu = Qemu(system=(system,), img=(img,), version=version, sandbox=sandbox)
    return qemu if _supports_vfio_user(qemu) else None


@functools.cache
def private_qemu(folder: Path) -> Qemu:
    """Return the QEMU unpacked in `folder`, run with the loader and libraries of the same folder.

    The copy never changes, so its version is asked once.
    """
    libraries = next((folder / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    prefix = (str(loader), "--library-path", str(libraries))
    share = folder / "usr/share"
    environment = {"QEMU_MODULE_DIR": str(libraries / "qemu")}
    system = (*prefix, str(folder / "usr/bin" / PROGRAM), "-L", str(share / "seabios"), "-L", str(share / "qemu"))
    version, sandbox = version_and_sandbox(system, environment)
    return Qemu(
        system=system,
        img=(*prefix, str(folder / "usr/bin/qemu-img")),
        version=version,
        folders=(folder, folder / "usr"),
        sandbox=sandbox,
        environment=environment,
    )


def version_and_sandbox(system: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return QEMU's version and its sandbox arguments. A QEMU built without seccomp rejects `-sandbox`: none then."""
    for sandbox in (("-sandbox", SANDBOX), ()):
        result = proc.run([*system, *sandbox, "-version"], timeout_s=30, env=environment, check=not sandbox)
        if result.status == 0:
            break
    return _version(result.stdout), sandbox


def _private_folder(cache: Path, progress: Progress) -> Path:
    recipe = hashlib.sha256(repr((PACKAGES, apt_sources.SUITES[apt_sources.DEBIAN_13])).encode()).hexdigest()[:12]
    return cache_build.build_once(
        cache / f"qemu-{recipe}", "private copy of QEMU", lambda half: _unpack(half, cache, progress), progress
    )


def _unpack(half: Path, cache: Path, progress: Progress) -> None:
    """Unpack Debian's QEMU packages and their dependencies, without installing them."""
    cache_build.require_disk(half, _NEEDED_MIB, "the private copy of QEMU")
    progress(f"no QEMU {LEAST[0]}.{LEAST[1]} here: unpacking a private copy, usually 20 s")
    root = half / "root"
    mmdebstrap.make_root(
        root,
        cache,
        variant="extract",
        include=PACKAGES,
        options=(f'--aptopt=APT::Default-Release "{apt_sources.SUITES[apt_sources.DEBIAN_13][-1]}"',),
        progress=progress,
    )
    for part in (root / "usr").iterdir():
        (half / "usr").mkdir(exist_ok=True)
        part.rename(half / "usr" / part.name)
    shutil.rmtree(root)
    if not _supports_vfio_user(private_qemu(half)):
        raise SetupError("the QEMU in Debian's packages cannot serve vfio-user devices")


def _supports_vfio_user(qemu: Qemu) -> bool:
    return _number(qemu.version) >= LEAST and "vfio-user-pci" in _devices(qemu)


def _number(version: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, match.groups())) if match else (0, 0)


def _version(out: str) -> str:
    match = re.search(r"version (\S+)", out)
    if match is None:
        raise SetupError(f"{PROGRAM} -version says {out[:80]!r}, which names no version")
    return match[1]


def _devices(qemu: Qemu) -> str:
    try:
        return proc.run([*qemu.system, "-device", "help"], timeout_s=30, env=qemu.environment).stdout
    except HarnessError:
        return ""
