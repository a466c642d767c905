#!/usr/bin/python3
"""Find a kernel module built earlier for the same kind of host, or keep a new one for later hosts.

    ena_modules.py find --cache=DIR --version=2.17.0 --sha256=HEX < JSON
    ena_modules.py keep --cache=DIR --version=2.17.0 --sha256=HEX --host=NAME --origin=TEXT < JSON

Standard input holds the host's answer, a JSON object: {"kernel", "machine"} and, for `keep`, {"module", "content"},
the path of the module on the host and its content in base64. `find` prints {"path"}: the module's file in DIR, or null
when there is none that can be used. `keep` prints {"path"}: the file that it wrote.

The host's answer is untrusted: kernel release and machine have a bounded form, the path has one of four suffixes, the
content has a bounded size, and this script makes the file's name. Beside each module DIR has a record of its origin; a
module whose record does not match it is not used. Exits with 1 and one sentence when the answer is not one that an
honest host gives.

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

UTSNAME_FIELD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]{0,64}")  # a field of utsname has 64 characters
VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){2}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAGIC_BY_SUFFIX = {
    ".ko": b"\x7fELF",
    ".ko.xz": b"\xfd7zXZ\x00",
    ".ko.zst": b"\x28\xb5\x2f\xfd",
    ".ko.gz": b"\x1f\x8b",
}
"""Suffix of a module's file -> first bytes of its content."""

MOST_BYTES = 32 << 20
MOST_RECORD_BYTES = 64 << 10
MOST_INPUT_BYTES = MOST_BYTES // 3 * 4 + (1 << 20)


class Refused(Exception):
    """The host gave an answer that no honest host gives."""


def describe_module(arguments: argparse.Namespace, host_facts: dict[str, object]) -> dict[str, str]:
    """Return version, archive checksum, kernel and machine, which identify a module. Raises Refused."""
    return {
        "version": check_form(VERSION, arguments.version, "the driver's version"),
        "archive_sha256": check_form(SHA256, arguments.sha256, "the archive's sha256"),
        "kernel": check_word(host_facts.get("kernel"), "the release of its kernel"),
        "machine": check_word(host_facts.get("machine"), "its machine"),
    }


def check_word(value: object, subject: str) -> str:
    """Return a value of the host's answer that is safe as part of a file's name. Raises Refused."""
    text = check_form(UTSNAME_FIELD, value, f"the host says of {subject}")
    if ".." in text:
        raise Refused(f"the host says of {subject} {text!r}, which cannot be")
    return text


def check_form(pattern: re.Pattern[str], value: object, subject: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{subject} {printable(value)}, which cannot be")
    return value


def printable(value: object) -> str:
    """Shorten any value and escape it for a message."""
    return ascii(value[:100] if isinstance(value, (str, list)) else value)[:200]


def file_stem(key: dict[str, str]) -> str:
    """Name a module's file, without the suffix."""
    return f"ena-{key['version']}-{key['archive_sha256'][:12]}-{key['kernel']}-{key['machine']}"


def path_in_cache(cache: str, name: str) -> str:
    """Return the path of a name directly in the cache folder. Raises Refused."""
    folder = os.path.abspath(cache)
    path = os.path.normpath(os.path.join(folder, name))
    if os.path.dirname(path) != folder:
        raise Refused(f"{name!r} is no name of a file in {folder}")
    return path


# --- find ------------------------------------------------------------------------------------------------------------


def find(cache: str, key: dict[str, str]) -> str | None:
    """Find the module for this key whose record and checksum match; None when there is none."""
    for suffix in MAGIC_BY_SUFFIX:
        path = path_in_cache(cache, file_stem(key) + suffix)
        record = read_record(path + ".json")
        content = read_private_file(path, MOST_BYTES)
        if record is None or content is None or any(record.get(key) != value for key, value in key.items()):
            continue
        if record.get("sha256") == hashlib.sha256(content).hexdigest():
            return path
    return None


def read_record(path: str) -> dict[str, object] | None:
    try:
        record = json.loads(read_private_file(path, MOST_RECORD_BYTES) or b"null")
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_private_file(path: str, most_bytes: int) -> bytes | None:
    """Read a regular file that only this user or root can write; None when there is none, or it is too large."""
    try:
        folder = os.stat(os.path.dirname(path))
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not is_private(status) or not is_private(folder):
                return None
            content = file.read(most_bytes + 1)
    except OSError:
        return None
    return content if len(content) <= most_bytes else None


def is_private(status: os.stat_result) -> bool:
    """Tell whether only this user, or root, can write the file."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# --- keep ------------------------------------------------------------------------------------------------------------


def keep(cache: str, key: dict[str, str], host_facts: dict[str, object], *, host: str, origin: str) -> str:
    """Write a module and its record, each whole or not at all. Raises Refused."""
    content = decode_module(host_facts.get("content"))
    module = host_facts.get("module")
    suffixes = [suffix for suffix in MAGIC_BY_SUFFIX if isinstance(module, str) and module.endswith(suffix)]
    if not suffixes:
        raise Refused(f"the host says that it built the module {printable(module)}, whose name ends like no module's")
    if not content.startswith(MAGIC_BY_SUFFIX[suffixes[0]]):
        raise Refused(f"the host gives as its module *{suffixes[0]} what is none")
    path = path_in_cache(cache, file_stem(key) + suffixes[0])
    record = {
        "schema": 1,
        **key,
        "host": host,
        "origin": origin,
        "kept": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 - 3.9
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    make_folder(os.path.dirname(path))
    with open(path_in_cache(cache, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that a module and its record come from the same host
        write(path, content)
        write(path + ".json", (json.dumps(record, indent=1) + "\n").encode())
    return path


def decode_module(content: object) -> bytes:
    try:
        module_bytes = base64.b64decode(content, validate=True) if isinstance(content, str) else b""
    except (binascii.Error, ValueError) as error:
        raise Refused(f"the host does not give its module in base64: {error}") from error
    if not 0 < len(module_bytes) <= MOST_BYTES:
        raise Refused(f"the host gives a module of {len(module_bytes)} bytes, and one has from 1 to {MOST_BYTES}")
    return module_bytes


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


def read_host_facts() -> dict[str, object]:
    """Read the host's answer from standard input. Raises Refused."""
    text = sys.stdin.buffer.read(MOST_INPUT_BYTES + 1)
    if len(text) > MOST_INPUT_BYTES:
        raise Refused(f"the host gives a module of more than {MOST_BYTES} bytes")
    try:
        host_facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"what the host says is no JSON: {error}") from error
    if not isinstance(host_facts, dict):
        raise Refused("what the host says is no JSON object")
    return host_facts


def main() -> int:
    parser = argparse.ArgumentParser(description="Kernel modules that were built before.", allow_abbrev=False)
    parser.add_argument("act", choices=["find", "keep"])
    parser.add_argument("--cache", metavar="DIR", required=True, help="where modules of hosts of one kind are kept")
    parser.add_argument("--version", metavar="X.Y.Z", required=True, help="the driver's version")
    parser.add_argument("--sha256", metavar="HEX", required=True, help="the checksum of the driver's archive")
    parser.add_argument("--host", metavar="NAME", default="", help="the host that built it, for the record")
    parser.add_argument("--origin", metavar="TEXT", default="", help="what it was built for, for the record")
    arguments = parser.parse_args()
    os.umask(0o077)
    cache = os.path.expanduser(arguments.cache)
    try:
        host_facts = read_host_facts()
        key = describe_module(arguments, host_facts)
        if arguments.act == "find":
            path = find(cache, key)
        else:
            path = keep(cache, key, host_facts, host=arguments.host, origin=arguments.origin)
    except Refused as mistake:
        print(mistake, file=sys.stderr)
        return 1
    print(json.dumps({"path": path}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
