#!/usr/bin/python3
"""Is this an archive of Amazon's ENA driver, the very one that was meant, and where is it on this machine?

    ena_archive.py --archive=PATH|URL --sha256=HEX --cache=DIR     an archive at hand, or one to download
    ena_archive.py --release=2.17.0 --cache=DIR                    a release by its number, from Amazon's repository

Prints {"path", "sha256", "version"} as JSON. A download is kept in DIR and made once. Ends with 1 and one sentence when
the archive cannot be had, is another than its checksum says, or holds no ENA driver with a clock.

URLs and archives may be somebody else's: a download comes by https from a public address only, at every redirect, and
size, memory and time of all that is read are bounded.

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
from typing import IO, Any

sys.dont_write_bytecode = True  # the folder is the role's
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ena_archive_urls import MOST_URL_CHARACTERS, SILENCE_S, Unusable, check, opener  # noqa: E402

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


# --- an archive at hand ----------------------------------------------------------------------------------------------


def examine(path: str, sha256: str | None, called: str) -> dict[str, str]:
    """The archive's path, checksum and driver version; `called` names it in messages. Raises Unusable."""
    with opened(path, called) as file:
        seen = checksum(file, called)
        if sha256 is not None and seen != sha256.lower():
            raise Unusable(f"the driver archive {called} is another one: its sha256 is {seen}, not {sha256.lower()}")
        file.seek(0)
        return {"path": os.path.abspath(path), "sha256": seen, "version": version(file, called)}


def opened(path: str, called: str) -> IO[bytes]:
    """Open a regular file of a bounded size. A pipe does not hold us up, and a device is not read. Raises Unusable."""
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 - the caller's
        status = os.fstat(file.fileno())
    except OSError as error:
        raise Unusable(f"the driver archive {called} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(f"the driver archive {called!r} cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise Unusable(f"the driver archive {called} cannot be read: it is not a regular file")
    return file


def checksum(file: IO[bytes], called: str) -> str:
    """The SHA-256 of a file that has no more than MOST_BYTES. Raises Unusable."""
    digest, got = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        got += len(chunk)
        if got > MOST_BYTES:
            raise Unusable(f"{called} is no driver archive: it has more than {MOST_BYTES} bytes")
        digest.update(chunk)
    return digest.hexdigest()


def version(file: IO[bytes], called: str) -> str:
    """The driver's version by its own source. Raises Unusable when the archive holds no ENA driver with a clock."""
    names: set[str] = set()
    text = ""
    try:
        with tarfile.open(fileobj=Unpacked(file, called), mode="r|", tarinfo=Entry) as archive:
            for number, member in enumerate(archive, start=1):
                if number > MOST_MEMBERS:
                    raise Unusable(f"{called} is no driver archive: it has more than {MOST_MEMBERS} members")
                name = inside(member.name)
                if name in (f"{SOURCE}/Makefile", f"{SOURCE}/ena_phc.c"):
                    names.add(name)
                if name == f"{SOURCE}/ena_netdev.h" and member.isreg():
                    if member.size > MOST_HEADER_BYTES:
                        raise Unusable(f"{called} is no driver archive: its ena_netdev.h has {member.size} bytes")
                    content = archive.extractfile(member)
                    text = content.read(MOST_HEADER_BYTES).decode("utf-8", errors="replace") if content else ""
    except MemoryError as error:
        raise Unusable(f"{called} is no driver archive: reading it takes too much memory") from error
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error, lzma.LZMAError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise Unusable(f"the driver archive {called} is no tar archive: {words}") from error
    return told(names, text, called)


def told(names: set[str], text: str, called: str) -> str:
    """The version in the text of ena_netdev.h, of a source that has a Makefile and a clock. Raises Unusable."""
    numbers = dict(VERSION.findall(text))
    if len(numbers) != 3 or f"{SOURCE}/Makefile" not in names:
        raise Unusable(
            f"the archive {called} is not a release of the ENA driver: it has no {SOURCE} with a Makefile and"
            " ena_netdev.h; take one of the ena_linux_* releases of amzn/amzn-drivers"
        )
    found = ".".join(numbers[part] for part in ("MAJOR", "MINOR", "SUBMINOR"))
    if f"{SOURCE}/ena_phc.c" not in names:
        raise Unusable(f"ena {found} in {called} knows no clock: take a release >= 2.10")
    return found


class Entry(tarfile.TarInfo):
    """A member's header. tarfile reads what extends a header into memory, whatever size the header claims."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        made = super().frombuf(buf, encoding, errors)
        if made.size < 0 or (made.type in EXTENDED and made.size > MOST_EXTENDED_BYTES):
            raise Unusable(f"the driver archive is no release of Amazon's: a header in it claims {made.size} bytes")
        if made.type == tarfile.GNUTYPE_SPARSE:
            raise Unusable("the driver archive is no release of Amazon's: it has a sparse file")
        return made


class Unpacked:
    """What is in a file that may be compressed, read bit by bit and counted."""

    def __init__(self, file: IO[bytes], called: str) -> None:
        begin = file.read(6)
        file.seek(0)
        self.called, self.got = called, 0
        self.file: Any = file
        if begin.startswith(b"\x1f\x8b"):
            self.file = gzip.GzipFile(fileobj=file)
        elif begin.startswith(b"BZh"):
            self.file = bz2.BZ2File(file)
        elif begin == b"\xfd7zXZ\x00":
            self.file = lzma.LZMAFile(file)  # noqa: SIM115 - its file is the caller's

    def read(self, size: int) -> bytes:
        chunk: bytes = self.file.read(size)
        self.got += len(chunk)
        if self.got > MOST_UNPACKED_BYTES:
            raise Unusable(f"{self.called} is no driver archive: it unpacks to more than {MOST_UNPACKED_BYTES} bytes")
        return chunk


def inside(name: str) -> str:
    """A member's name within the archive's top folder, if it has one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts if parts[:1] == ["kernel"] else parts[1:])


# --- an archive to be downloaded -------------------------------------------------------------------------------------


def downloaded(url: str, cache: str, sha256: str | None, *, here: bool) -> dict[str, str]:
    """The archive of a URL in the cache, downloaded unless a usable one is there. Raises Unusable."""
    check(url, here=here)
    os.makedirs(cache, exist_ok=True)
    with contextlib.suppress(OSError):  # an earlier version made it for all to read
        os.chmod(cache, 0o700)
    name = hashlib.sha256(url.encode()).hexdigest()[:12] + "-" + re.sub(r"[^\w.-]", "_", url.rpartition("/")[2])[-100:]
    path = os.path.join(cache, name)
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.lexists(path):
            try:
                return examine(path, sha256, path)
            except Unusable:  # another one, or broken: the URL may give the right one by now
                os.unlink(path)
        return download(url, path, sha256, here=here)


def download(url: str, path: str, sha256: str | None, *, here: bool) -> dict[str, str]:
    """Put the URL's content at the path once it is found usable, whole or not at all. Raises Unusable."""
    part = tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix="part-", delete=False)  # noqa: SIM115
    try:
        with part:
            with opener(here=here).open(url, timeout=SILENCE_S) as answer:
                got = 0
                while chunk := answer.read(CHUNK):
                    got += len(chunk)
                    if got > MOST_BYTES:
                        raise Unusable(f"{url} is no driver archive: it has more than {MOST_BYTES} bytes")
                    part.write(chunk)
            part.flush()
            os.fsync(part.fileno())
        said = examine(part.name, sha256, url)
        os.replace(part.name, path)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        why = str(getattr(error, "reason", None) or error)
        raise Unusable(f"{url} cannot be downloaded: {why[:MOST_URL_CHARACTERS]}") from error
    finally:
        if os.path.exists(part.name):
            os.unlink(part.name)
    return {**said, "path": os.path.abspath(path)}


# --- the command -----------------------------------------------------------------------------------------------------


def bound(deadline_s: float) -> None:
    """End by ourselves, with a sentence, before we take too long or too much memory; files are for us alone."""

    def late(number: int, frame: object) -> None:
        raise Unusable(f"the driver archive was given up: reading it took more than {deadline_s:g} s")

    os.umask(0o077)
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    with contextlib.suppress(OSError, ValueError):  # a lower limit is there already, or none can be set
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def find(arguments: argparse.Namespace) -> dict[str, str]:
    """Where the archive is that was asked for. Raises Unusable."""
    place = arguments.archive
    if arguments.release is not None:
        if not RELEASE.fullmatch(arguments.release):
            raise Unusable(f"{arguments.release!r} is no release of the ENA driver: they are called like 2.17.0")
        place = RELEASES.format(arguments.release.rstrip("g"))
    if URL.match(place):
        cache = os.path.expanduser(arguments.cache)
        return downloaded(place, cache, arguments.sha256, here=arguments.from_this_machine)
    return examine(os.path.expanduser(place), arguments.sha256, os.path.expanduser(place))


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Is this an archive of Amazon's ENA driver, and where is it?", allow_abbrev=False
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--archive", metavar="PATH|URL", help="the archive, at hand or to be downloaded")
    asked.add_argument("--release", metavar="X.Y.Z", help="a release of amzn/amzn-drivers")
    parser.add_argument("--sha256", metavar="HEX", help="the archive's checksum")
    parser.add_argument("--cache", metavar="DIR", required=True, help="where downloads are kept")
    parser.add_argument("--deadline", metavar="S", type=float, default=DEADLINE_S, help="seconds for all of it")
    parser.add_argument(
        "--from-this-machine", action="store_true", help="for tests: also http, and servers on this machine"
    )
    arguments = parser.parse_args()
    bound(arguments.deadline)
    try:
        print(json.dumps(find(arguments)))
    except Unusable as mistake:
        print(mistake, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
