#!/usr/bin/python3
"""Which kernel module was built before for such a host, and may a new one be kept for the next?

    ena_modules.py find --cache=DIR --version=2.17.0 --sha256=HEX < JSON
    ena_modules.py keep --cache=DIR --version=2.17.0 --sha256=HEX --host=NAME --origin=TEXT < JSON

Standard input holds what the host says, as a JSON object: {"kernel", "machine"} and, for `keep`, {"module", "content"},
the path of the module on the host and its content in base64. `find` prints {"path"}: the module's file in DIR, or null,
where there is none that can be used. `keep` prints {"path"}: the file that it wrote.

Nothing that the host says is believed: a kernel's release and a machine have few characters, the end of the path is
one of four, the content has a bounded size, and the file's name is made here. Beside each module DIR has a record of
where it comes from; a module whose record does not fit it is not used. Ends with 1 and one sentence when what the host
says cannot be.

Runs on the machine that runs Ansible: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import datetime
import fcntl
import hashlib
import json
import os
import re
import stat
import sys
import tempfile

WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]{0,64}")  # a field of utsname has 64 characters
VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){2}")
SHA256 = re.compile(r"[0-9a-f]{64}")
BEGINNINGS = {
    ".ko": b"\x7fELF",
    ".ko.xz": b"\xfd7zXZ\x00",
    ".ko.zst": b"\x28\xb5\x2f\xfd",
    ".ko.gz": b"\x1f\x8b",
}
"""How a module's file ends, and how its content begins."""

MOST_BYTES = 32 << 20
MOST_RECORD_BYTES = 64 << 10
MOST_SAID_BYTES = MOST_BYTES // 3 * 4 + (1 << 20)


class Refused(Exception):
    """What the host says that cannot be."""


def described(arguments: argparse.Namespace, said: dict[str, object]) -> dict[str, str]:
    """What ties a module to an archive and a kernel. Raises Refused."""
    return {
        "version": fitting(VERSION, arguments.version, "the driver's version"),
        "archive_sha256": fitting(SHA256, arguments.sha256, "the archive's sha256"),
        "kernel": word(said.get("kernel"), "the release of its kernel"),
        "machine": word(said.get("machine"), "its machine"),
    }


def word(value: object, what: str) -> str:
    """One of the host's words, fit to be part of a file's name. Raises Refused."""
    text = fitting(WORD, value, f"the host says of {what}")
    if ".." in text:
        raise Refused(f"the host says of {what} {text!r}, which cannot be")
    return text


def fitting(pattern: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{what} {short(value)}, which cannot be")
    return value


def short(value: object) -> str:
    """A value as it can be shown, whatever it is."""
    return ascii(value[:100] if isinstance(value, (str, list)) else value)[:200]


def base(about: dict[str, str]) -> str:
    """The name of a module's file without its end."""
    return f"ena-{about['version']}-{about['archive_sha256'][:12]}-{about['kernel']}-{about['machine']}"


def place(cache: str, name: str) -> str:
    """The path of a name in the cache, and nowhere else. Raises Refused."""
    folder = os.path.abspath(cache)
    path = os.path.normpath(os.path.join(folder, name))
    if os.path.dirname(path) != folder:
        raise Refused(f"{name!r} is no name of a file in {folder}")
    return path


# --- find ------------------------------------------------------------------------------------------------------------


def find(cache: str, about: dict[str, str]) -> str | None:
    """The module of such a host, when it is the one that its record tells of."""
    for end in BEGINNINGS:
        path = place(cache, base(about) + end)
        record = recorded(path + ".json")
        content = ours(path, MOST_BYTES)
        if record is None or content is None or any(record.get(key) != value for key, value in about.items()):
            continue
        if record.get("sha256") == hashlib.sha256(content).hexdigest():
            return path
    return None


def recorded(path: str) -> dict[str, object] | None:
    try:
        record = json.loads(ours(path, MOST_RECORD_BYTES) or b"null")
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def ours(path: str, most: int) -> bytes | None:
    """The content of a regular file that nobody else can have written; None where there is no such file."""
    try:
        folder = os.stat(os.path.dirname(path))
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not alone(status) or not alone(folder):
                return None
            content = file.read(most + 1)
    except OSError:
        return None
    return content if len(content) <= most else None


def alone(status: os.stat_result) -> bool:
    """Whether we, or root, are the only one who can write it."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# --- keep ------------------------------------------------------------------------------------------------------------


def keep(cache: str, about: dict[str, str], said: dict[str, object], *, host: str, origin: str) -> str:
    """Write a module and its record, each whole or not at all. Raises Refused."""
    content = decoded(said.get("content"))
    module = said.get("module")
    ends = [end for end in BEGINNINGS if isinstance(module, str) and module.endswith(end)]
    if not ends:
        raise Refused(f"the host says that it built the module {short(module)}, whose name ends like no module's")
    if not content.startswith(BEGINNINGS[ends[0]]):
        raise Refused(f"the host gives as its module *{ends[0]} what is none")
    path = place(cache, base(about) + ends[0])
    record = {
        "schema": 1,
        **about,
        "host": host,
        "origin": origin,
        "kept": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 - 3.9
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    make_folder(os.path.dirname(path))
    with open(place(cache, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that a module and its record are of one host
        write(path, content)
        write(path + ".json", (json.dumps(record, indent=1) + "\n").encode())
    return path


def decoded(content: object) -> bytes:
    try:
        found = base64.b64decode(content, validate=True) if isinstance(content, str) else b""
    except (binascii.Error, ValueError) as error:
        raise Refused(f"the host does not give its module in base64: {error}") from error
    if not 0 < len(found) <= MOST_BYTES:
        raise Refused(f"the host gives a module of {len(found)} bytes, and one has from 1 to {MOST_BYTES}")
    return found


def make_folder(path: str) -> None:
    os.makedirs(path, exist_ok=True)
    if os.stat(path).st_uid == os.geteuid():
        os.chmod(path, 0o700)


def write(path: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix="part-", delete=False) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


# --- the command -----------------------------------------------------------------------------------------------------


def listen() -> dict[str, object]:
    """What the host says. Raises Refused."""
    text = sys.stdin.buffer.read(MOST_SAID_BYTES + 1)
    if len(text) > MOST_SAID_BYTES:
        raise Refused(f"the host gives a module of more than {MOST_BYTES} bytes")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"what the host says is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise Refused("what the host says is no JSON object")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description="Kernel modules that were built before.", allow_abbrev=False)
    parser.add_argument("act", choices=["find", "keep"])
    parser.add_argument("--cache", metavar="DIR", required=True, help="where modules of hosts of one kind are kept")
    parser.add_argument("--version", metavar="X.Y.Z", required=True, help="the driver's")
    parser.add_argument("--sha256", metavar="HEX", required=True, help="the checksum of the driver's archive")
    parser.add_argument("--host", metavar="NAME", default="", help="who built it, for the record")
    parser.add_argument("--origin", metavar="TEXT", default="", help="for whom, for the record")
    arguments = parser.parse_args()
    os.umask(0o077)
    cache = os.path.expanduser(arguments.cache)
    try:
        said = listen()
        about = described(arguments, said)
        if arguments.act == "find":
            path = find(cache, about)
        else:
            path = keep(cache, about, said, host=arguments.host, origin=arguments.origin)
    except Refused as mistake:
        print(mistake, file=sys.stderr)
        return 1
    print(json.dumps({"path": path}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
