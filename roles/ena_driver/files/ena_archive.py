#!/usr/bin/python3
"""Is this an archive of Amazon's ENA driver, the very one that was meant, and where is it on this machine?

    ena_archive.py --archive PATH|URL --sha256 HEX --cache DIR     an archive at hand, or one to download
    ena_archive.py --release 2.17.0 --cache DIR                    a release by its number, from Amazon's repository

Prints {"path", "sha256", "version"} as JSON. A download is kept in DIR and made once. Ends with 1 and one sentence when
the archive cannot be had, is another than its checksum says, or holds no ENA driver with a clock.

Runs on the machine that runs Ansible: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import sys
import tarfile
import tempfile
import urllib.request

RELEASES = "https://github.com/amzn/amzn-drivers/archive/refs/tags/ena_linux_{}.tar.gz"
SOURCE = "kernel/linux/ena"
VERSION = re.compile(r"#define\s+DRV_MODULE_(?:GEN|VER)_(MAJOR|MINOR|SUBMINOR)\s+([0-9]+)")
DOWNLOAD_DEADLINE_S = 60
MOST_BYTES = 200_000_000


class Unusable(Exception):
    """What is wrong with the archive, and what to do."""


def examine(path: str, sha256: str | None) -> dict[str, str]:
    """The archive's path, checksum and driver version. Raises Unusable."""
    try:
        with open(path, "rb") as file:
            seen = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise Unusable(f"the driver archive {path} cannot be read: {error.strerror}") from error
    if sha256 is not None and seen != sha256.lower():
        raise Unusable(f"the driver archive {path} is another one: its sha256 is {seen}, not {sha256.lower()}")
    return {"path": os.path.abspath(path), "sha256": seen, "version": version(path)}


def version(path: str) -> str:
    """The driver's version by its own source. Raises Unusable when the archive holds no ENA driver with a clock."""
    try:
        with tarfile.open(path) as archive:
            names = {inside(name): name for name in archive.getnames()}
            header = names.get(f"{SOURCE}/ena_netdev.h")
            file = archive.extractfile(header) if header else None
            text = file.read().decode("utf-8", errors="replace") if file else ""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        words = str(error).splitlines()[0].rstrip(":")
        raise Unusable(f"the driver archive {path} is no tar archive: {words}") from error
    numbers = dict(VERSION.findall(text))
    if len(numbers) != 3 or f"{SOURCE}/Makefile" not in names:
        raise Unusable(
            f"the archive {path} is not a release of the ENA driver: it has no {SOURCE} with a Makefile and"
            " ena_netdev.h; take one of the ena_linux_* releases of amzn/amzn-drivers"
        )
    found = ".".join(numbers[part] for part in ("MAJOR", "MINOR", "SUBMINOR"))
    if f"{SOURCE}/ena_phc.c" not in names:
        raise Unusable(f"ena {found} in {path} knows no clock: take a release >= 2.10")
    return found


def inside(name: str) -> str:
    """A member's name within the archive's top folder, if it has one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts if parts[:1] == ["kernel"] else parts[1:])


def downloaded(url: str, cache: str, sha256: str | None) -> str:
    """The file of a URL in the cache, downloaded unless it is there. Raises Unusable."""
    os.makedirs(cache, mode=0o755, exist_ok=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:12] + "-" + re.sub(r"[^\w.-]", "_", url.rpartition("/")[2])
    path = os.path.join(cache, name)
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (os.path.exists(path) and matches(path, sha256)):
            download(url, path)
    return path


def matches(path: str, sha256: str | None) -> bool:
    with open(path, "rb") as file:
        return sha256 is None or hashlib.sha256(file.read()).hexdigest() == sha256.lower()


def download(url: str, path: str) -> None:
    """Write the URL's content to the path, whole or not at all. Raises Unusable."""
    part = tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False)  # noqa: SIM115 - closed below
    try:
        with part, urllib.request.urlopen(url, timeout=DOWNLOAD_DEADLINE_S) as answer:
            got = 0
            while chunk := answer.read(1 << 20):
                got += len(chunk)
                if got > MOST_BYTES:
                    raise Unusable(f"{url} is no driver archive: it has more than {MOST_BYTES} bytes")
                part.write(chunk)
        os.replace(part.name, path)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        why = getattr(error, "reason", None) or error
        raise Unusable(f"{url} cannot be downloaded: {why}") from error
    finally:
        if os.path.exists(part.name):
            os.unlink(part.name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Is this an archive of Amazon's ENA driver, and where is it?")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--archive", metavar="PATH|URL", help="the archive, at hand or to be downloaded")
    asked.add_argument("--release", metavar="X.Y.Z", help="a release of amzn/amzn-drivers")
    parser.add_argument("--sha256", metavar="HEX", help="the archive's checksum")
    parser.add_argument("--cache", metavar="DIR", required=True, help="where downloads are kept")
    arguments = parser.parse_args()
    place = arguments.archive or RELEASES.format((arguments.release or "").rstrip("g"))
    try:
        if re.match(r"[a-z][a-z0-9+.-]*://", place):
            place = downloaded(place, os.path.expanduser(arguments.cache), arguments.sha256)
        print(json.dumps(examine(os.path.expanduser(place), arguments.sha256)))
    except Unusable as mistake:
        print(mistake, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
