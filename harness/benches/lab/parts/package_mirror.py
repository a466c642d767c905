"""Write the index files of a small package mirror, from which a cloud's image installs its packages.

The layout is that of Debian's mirrors: `dists/RELEASE/main/binary-amd64/Packages` lists the packages under `pool`. The
mirror has no signature; guests trust it by an option of their sources.
"""

import gzip
import hashlib
from pathlib import Path

from harness.system import proc

_ARCHITECTURE = "amd64"
_DEADLINE_S = 60.0


def write_index(mirror: Path, release: str) -> None:
    """Move the `.deb` files of `mirror` to its pool, and write its index files. Raises CommandError."""
    pool = mirror / "pool"
    pool.mkdir()
    packages = [package.rename(pool / package.name) for package in sorted(mirror.glob("*.deb"))]
    index = mirror / "dists" / release / "main" / f"binary-{_ARCHITECTURE}" / "Packages"
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(_describe(package, mirror) for package in packages))
    index.with_suffix(".gz").write_bytes(gzip.compress(index.read_bytes(), mtime=0))
    suite = mirror / "dists" / release
    lines = [
        "Origin: Lab",
        f"Suite: {release}",
        f"Codename: {release}",
        f"Architectures: {_ARCHITECTURE}",
        "Components: main",
        "SHA256:",
        *(
            f" {_sha256(path)} {path.stat().st_size} {path.relative_to(suite)}"
            for path in sorted(index.parent.iterdir())
        ),
    ]
    (suite / "Release").write_text("\n".join(lines) + "\n")
    for path in (mirror, *mirror.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _describe(package: Path, mirror: Path) -> str:
    """Make a package's entry of Packages: its own control fields, and where it is with size and hash."""
    control = proc.run(["dpkg-deb", "--field", str(package)], timeout_s=_DEADLINE_S).stdout.strip()
    return (
        f"{control}\nFilename: {package.relative_to(mirror)}\n"
        f"Size: {package.stat().st_size}\nSHA256: {_sha256(package)}\n"
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
