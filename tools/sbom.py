"""List what an image holds, as CycloneDX 1.6: the locked Python packages, with their hashes, and Debian's packages.

    python tools/sbom.py requirements/run.txt --name ptp-harness --version 0.1.0 [--debian FILE]

A requirement counts where its marker holds for the Python that runs this. FILE: lines of package, version and
architecture, separated by tabs, as dpkg-query prints them. The same input gives the same document.
"""

import argparse
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import Requirement

_PROPERTY = "ptp-harness:locked-sha256"
_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")  # that of URLs, RFC 9562


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A package of the lock. `hashes`: SHA-256 of each of its files; `needed_by`: the packages that ask for it."""

    name: str
    version: str
    hashes: Sequence[str]
    needed_by: Sequence[str]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{quote(self.name)}@{quote(self.version)}"


def read_lock(text: str) -> list[LockedPackage]:
    """Read the packages of a lock, as `uv pip compile` writes it, that this Python on this system takes."""
    packages = []
    for block in re.split(r"\n(?=[^\s#])", text.strip()):
        line = block.split("\n", 1)[0].removesuffix("\\").strip()
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        (exactly,) = requirement.specifier
        comments = block.partition("# via")[2].replace("#", "")
        needed_by = [word for word in comments.split() if not word.startswith("(")]
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
        packages.append(
            LockedPackage(name=requirement.name, version=exactly.version, hashes=hashes, needed_by=needed_by)
        )
    return packages


def make_document(
    name: str, version: str, packages: Sequence[LockedPackage], debian: Iterable[Sequence[str]]
) -> dict[str, Any]:
    """Make the document of an image. `debian`: the name, version and architecture of each of Debian's packages."""
    root = f"pkg:pypi/{quote(name)}@{quote(version)}"
    purls = {package.name: package.purl for package in packages} | {name: root}
    needs: dict[str, list[str]] = {purl: [] for purl in purls.values()}
    for package in packages:
        for other in package.needed_by:
            if other in purls:
                needs[purls[other]].append(package.purl)
    listed = [*map(_describe_locked, packages), *map(_describe_debian, debian)]
    serial = uuid.uuid5(_NAMESPACE, json.dumps([root, listed], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": root, "name": name, "version": version, "purl": root},
            "properties": [{"name": "ptp-harness:python", "value": platform.python_version()}],
        },
        "components": listed,
        "dependencies": [{"ref": purl, "dependsOn": sorted(needed)} for purl, needed in needs.items()],
    }


def _describe_locked(package: LockedPackage) -> dict[str, Any]:
    """Describe a package of the lock. Its hashes are those of all its files, of which an image has one."""
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "properties": [{"name": _PROPERTY, "value": value} for value in package.hashes],
    }


def _describe_debian(package: Sequence[str]) -> dict[str, Any]:
    name, version, architecture = package
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={quote(architecture)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _read_debian(path: Path | None) -> Iterator[Sequence[str]]:
    for line in path.read_text().splitlines() if path is not None else ():
        yield line.split("\t")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path, help="the locked requirements")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--debian", type=Path, metavar="FILE", help="Debian's packages of the image")
    options = parser.parse_args(argv)
    packages = read_lock(options.lock.read_text())
    document = make_document(options.name, options.version, packages, _read_debian(options.debian))
    print(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
