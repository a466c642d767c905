#!/usr/bin/python3
"""Find an archive of Amazon's ENA driver on this machine, or download it, and verify what it holds.

    ena_archive.py --archive=PATH|URL --sha256=HEX --cache=DIR     a local archive, or one to download
    ena_archive.py --release=2.17.0 --cache=DIR                    a release by its number, from Amazon's repository

Prints {"path", "sha256", "version"} as JSON. A download happens once and is kept in DIR. Exits with 1 and one sentence
when the archive is unavailable, has another checksum, or holds no ENA driver with a clock.

URLs and archives may come from others: a download uses https and public addresses only, at every redirect, and the
size, memory and time of everything that is read are bounded. Hosts that --host names may have private addresses.

Runs on the machine that runs Ansible: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import fcntl
import gzip
import hashlib
import http.client
import json
import lzma
import os
import re
import resource
import signal
import stat
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

sys.dont_write_bytecode = True  # the folder is the role's
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ena_archive_urls import MOST_URL_CHARACTERS, SILENCE_S, Unusable, build_opener, check_url  # noqa: E402

RELEASES = "https://github.com/amzn/amzn-drivers/archive/refs/tags/ena_linux_{}.tar.gz"
RELEASE = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){2}g?")
SOURCE = "kernel/linux/ena"
VERSION = re.compile(r"#define\s+DRV_MODULE_(?:GEN|VER)_(MAJOR|MINOR|SUBMINOR)\s+([0-9]{1,4})\b")
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
DEADLINE_S = 240.0  # for everything together; the harness waits for 300 s
CHUNK = 1 << 20
MOST_BYTES = 64 << 20  # of an archive; Amazon's have about one megabyte
MOST_UNPACKED_BYTES = 256 << 20
MOST_MEMBERS = 50_000
MOST_HEADER_BYTES = 1 << 20  # of ena_netdev.h
MOST_EXTENDED_BYTES = 64 << 10  # of a member's long name or extended header, which tarfile reads into memory
MOST_MEMORY_BYTES = 1 << 30
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


# --- a local archive -------------------------------------------------------------------------------------------------


def examine(path: str, sha256: str | None, label: str) -> dict[str, str]:
    """Return the archive's path, checksum and driver version; `label` names it in messages. Raises Unusable."""
    with open_regular(path, label) as file:
        digest_hex = checksum(file, label)
        if sha256 is not None and digest_hex != sha256.lower():
            raise Unusable(
                f"the driver archive {label} is another one: its sha256 is {digest_hex}, not {sha256.lower()}"
            )
        file.seek(0)
        return {"path": os.path.abspath(path), "sha256": digest_hex, "version": version(file, label)}


def open_regular(path: str, label: str) -> IO[bytes]:
    """Open a regular file; neither block on a pipe nor read a device. Raises Unusable."""
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 - the caller's
        status = os.fstat(file.fileno())
    except OSError as error:
        raise Unusable(f"the driver archive {label} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(f"the driver archive {label!r} cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise Unusable(f"the driver archive {label} cannot be read: it is not a regular file")
    return file


def checksum(file: IO[bytes], label: str) -> str:
    """Compute the SHA-256 of a file that has no more than MOST_BYTES. Raises Unusable."""
    digest, received = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        received += len(chunk)
        if received > MOST_BYTES:
            raise Unusable(f"{label} is no driver archive: it has more than {MOST_BYTES} bytes")
        digest.update(chunk)
    return digest.hexdigest()


def version(file: IO[bytes], label: str) -> str:
    """Read the driver's version from its source. Raises Unusable when the archive holds no ENA driver with a clock."""
    names: set[str] = set()
    text = ""
    try:
        with tarfile.open(fileobj=Unpacked(file, label), mode="r|", tarinfo=Entry) as archive:
            for number, member in enumerate(archive, start=1):
                if number > MOST_MEMBERS:
                    raise Unusable(f"{label} is no driver archive: it has more than {MOST_MEMBERS} members")
                name = strip_top_folder(member.name)
                if name in (f"{SOURCE}/Makefile", f"{SOURCE}/ena_phc.c"):
                    names.add(name)
                if name == f"{SOURCE}/ena_netdev.h" and member.isreg():
                    if member.size > MOST_HEADER_BYTES:
                        raise Unusable(f"{label} is no driver archive: its ena_netdev.h has {member.size} bytes")
                    content = archive.extractfile(member)
                    text = content.read(MOST_HEADER_BYTES).decode("utf-8", errors="replace") if content else ""
    except MemoryError as error:
        raise Unusable(f"{label} is no driver archive: reading it takes too much memory") from error
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error, lzma.LZMAError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise Unusable(f"the driver archive {label} is no tar archive: {reason}") from error
    return read_version(names, text, label)


def read_version(names: set[str], text: str, label: str) -> str:
    """Read the version in ena_netdev.h; the source must have a Makefile and a clock. Raises Unusable."""
    numbers = dict(VERSION.findall(text))
    if len(numbers) != 3 or f"{SOURCE}/Makefile" not in names:
        raise Unusable(
            f"the archive {label} is not a release of the ENA driver: it has no {SOURCE} with a Makefile and"
            " ena_netdev.h; take one of the ena_linux_* releases of amzn/amzn-drivers"
        )
    driver_version = ".".join(numbers[part] for part in ("MAJOR", "MINOR", "SUBMINOR"))
    if f"{SOURCE}/ena_phc.c" not in names:
        raise Unusable(f"ena {driver_version} in {label} knows no clock: take a release >= 2.10")
    return driver_version


class Entry(tarfile.TarInfo):
    """A member's header of bounded size: tarfile reads extended headers into memory, whatever size they claim.

    Every version of tarfile passes each header through `_proc_member`; patched ones no longer call `frombuf`.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or (self.type in EXTENDED and self.size > MOST_EXTENDED_BYTES):
            raise Unusable(f"the driver archive is no release of Amazon's: a header in it claims {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise Unusable("the driver archive is no release of Amazon's: it has a sparse file")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


class Unpacked:
    """The unpacked content of a file that may be compressed, read in chunks up to MOST_UNPACKED_BYTES."""

    def __init__(self, file: IO[bytes], label: str) -> None:
        magic = file.read(6)
        file.seek(0)
        self.label, self.received = label, 0
        self.file: Any = file
        if magic.startswith(b"\x1f\x8b"):
            self.file = gzip.GzipFile(fileobj=file)
        elif magic.startswith(b"BZh"):
            self.file = bz2.BZ2File(file)
        elif magic == b"\xfd7zXZ\x00":
            self.file = lzma.LZMAFile(file)  # noqa: SIM115 - its file is the caller's

    def read(self, size: int) -> bytes:
        chunk: bytes = self.file.read(size)
        self.received += len(chunk)
        if self.received > MOST_UNPACKED_BYTES:
            raise Unusable(f"{self.label} is no driver archive: it unpacks to more than {MOST_UNPACKED_BYTES} bytes")
        return chunk


def strip_top_folder(name: str) -> str:
    """Return a member's name without the archive's top folder, if it has one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts if parts[:1] == ["kernel"] else parts[1:])


# --- a download ------------------------------------------------------------------------------------------------------


def fetch_cached(
    url: str, cache: str, sha256: str | None, *, allow_local: bool, hosts: Sequence[str] = ()
) -> dict[str, str]:
    """Return a URL's archive in the cache; download it unless the cache has a usable one. Raises Unusable."""
    check_url(url, allow_local=allow_local, hosts=hosts)
    os.makedirs(cache, exist_ok=True)
    with contextlib.suppress(OSError):  # an earlier version of this script made it readable for all
        os.chmod(cache, 0o700)
    name = hashlib.sha256(url.encode()).hexdigest()[:12] + "-" + re.sub(r"[^\w.-]", "_", url.rpartition("/")[2])[-100:]
    path = os.path.join(cache, name)
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.lexists(path):
            try:
                return examine(path, sha256, path)
            except Unusable:  # another archive, or a broken one: the URL may have the right one by now
                os.unlink(path)
        return download(url, path, sha256, allow_local=allow_local, hosts=hosts)


def download(
    url: str, path: str, sha256: str | None, *, allow_local: bool, hosts: Sequence[str] = ()
) -> dict[str, str]:
    """Download a URL, and move the file to `path` in one step once it is found usable. Raises Unusable."""
    part = tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix="part-", delete=False)  # noqa: SIM115
    try:
        with part:
            with build_opener(allow_local=allow_local, hosts=hosts).open(url, timeout=SILENCE_S) as answer:
                received = 0
                while chunk := answer.read(CHUNK):
                    received += len(chunk)
                    if received > MOST_BYTES:
                        raise Unusable(f"{url} is no driver archive: it has more than {MOST_BYTES} bytes")
                    part.write(chunk)
            part.flush()
            os.fsync(part.fileno())
        result = examine(part.name, sha256, url)
        os.replace(part.name, path)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        reason = str(getattr(error, "reason", None) or error)
        raise Unusable(f"{url} cannot be downloaded: {reason[:MOST_URL_CHARACTERS]}") from error
    finally:
        if os.path.exists(part.name):
            os.unlink(part.name)
    return {**result, "path": os.path.abspath(path)}


# --- the command -----------------------------------------------------------------------------------------------------


def limit_resources(deadline_s: float) -> None:
    """Limit this process's time (it ends with a sentence) and memory, and make its files private."""

    def give_up(number: int, frame: object) -> None:
        raise Unusable(f"the driver archive was given up: reading it took more than {deadline_s:g} s")

    os.umask(0o077)
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    with contextlib.suppress(OSError, ValueError):  # a lower limit is set already, or none can be set
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def find(arguments: argparse.Namespace) -> dict[str, str]:
    """Find the requested archive. Raises Unusable."""
    location, hosts = arguments.archive, arguments.host
    if arguments.release is not None:
        hosts = ()
        if not RELEASE.fullmatch(arguments.release):
            raise Unusable(f"{arguments.release!r} is no release of the ENA driver: they are called like 2.17.0")
        location = RELEASES.format(arguments.release.rstrip("g"))
    if URL.match(location):
        cache = os.path.expanduser(arguments.cache)
        return fetch_cached(location, cache, arguments.sha256, allow_local=arguments.from_this_machine, hosts=hosts)
    return examine(os.path.expanduser(location), arguments.sha256, os.path.expanduser(location))


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Find or download an archive of Amazon's ENA driver and verify it.", allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--archive", metavar="PATH|URL", help="the archive, a local file or a download")
    source.add_argument("--release", metavar="X.Y.Z", help="a release of amzn/amzn-drivers")
    parser.add_argument("--sha256", metavar="HEX", help="the archive's checksum")
    parser.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        default=[],
        help="download --archive from this host alone; repeatable",
    )
    parser.add_argument("--cache", metavar="DIR", required=True, help="where downloads are kept")
    parser.add_argument("--deadline", metavar="S", type=float, default=DEADLINE_S, help="seconds for all of it")
    parser.add_argument(
        "--from-this-machine", action="store_true", help="for tests: also http, and servers on this machine"
    )
    arguments = parser.parse_args()
    limit_resources(arguments.deadline)
    try:
        print(json.dumps(find(arguments)))
    except Unusable as mistake:
        print(mistake, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
