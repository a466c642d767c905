"""Reach a place for objects by its URL: a folder, a bucket of S3, or any other filesystem that fsspec knows.

Objects are whole or absent. Errors name the store without its credentials, and say what to do next.
"""

import logging
import os
import random
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import SplitResult, urlsplit

from harness.errors import RequestError, SetupError
from harness.untrusted.plain_text import clip, printable

FORMS = "s3://BUCKET/PREFIX or file:///FOLDER"
TRIES = 5
_FIRST_PAUSE_S = 0.5
_MOST_WORDS = 300
_CHUNK = 1 << 20
_S3, _FILE = "s3", "file"
_ATOMIC_PUTS = (_S3, "gs", "gcs", "abfs", "abfss", "az", "oss", "memory")
"""Schemes of object stores, which show an object once it is whole; elsewhere a file is renamed when it is."""

Result = TypeVar("Result")
Pause = Callable[[float], bool]
"""Waits so many seconds; returns True when the caller was asked to stop."""

_log = logging.getLogger(__name__)


class StoreAwayError(SetupError):
    """The evidence store cannot be reached at the moment: the same action may succeed later."""


class ObjectStore:
    """A place for objects. `label` is its URL without credentials.

    It is connected to at its first use. Names of objects have slashes between their parts. Every action raises
    StoreAwayError where it may succeed later, else SetupError.
    """

    def __init__(self, url: str, parts: SplitResult) -> None:
        self.label = _make_label(parts)
        self._url, self._scheme = url, parts.scheme
        self._hidden = [text for text in (parts.password, parts.query) if text]
        self._lock = threading.Lock()
        self._connected: tuple[Any, str] | None = None

    def put_file(self, name: str, file: Path) -> None:
        """Store the content of a local file, whole or not at all. An object of this name is replaced."""
        with self._explaining(f"writing {name}"), file.open("rb") as content:
            if self._scheme in _ATOMIC_PUTS:
                self._filesystem.put_file(str(file), self._path(name))
            else:
                self._write_and_rename(name, content)

    def read(self, name: str, *, most: int) -> bytes | None:
        """Read an object of at most `most` bytes; None when there is no such object."""
        with self._explaining(f"reading {name}"):
            try:
                with self._filesystem.open(self._path(name), "rb") as file:
                    content: bytes = file.read(most + 1)
            except FileNotFoundError:
                self._require_root()
                return None
        if len(content) > most:
            raise SetupError(f"{self.label}/{name} has more than {most} bytes", next_step="see who wrote it")
        return content

    def read_in_chunks(self, name: str) -> Iterator[bytes]:
        """Read an object in chunks of a mebibyte. Raises SetupError when there is no such object."""
        with self._explaining(f"reading {name}"):
            try:
                file = self._filesystem.open(self._path(name), "rb")
            except FileNotFoundError as error:
                raise SetupError(
                    f"{self.label}/{name} is missing, and its list of checksums names it", next_step=RESEND
                ) from error
            with file:
                while data := file.read(_CHUNK):
                    yield data

    @property
    def _filesystem(self) -> Any:
        return self._connect()[0]

    @property
    def _root(self) -> str:
        return self._connect()[1]

    def _connect(self) -> tuple[Any, str]:
        import fsspec

        with self._lock:
            if self._connected is None:
                filesystem, root = fsspec.core.url_to_fs(self._url)
                self._connected = filesystem, str(root)
            return self._connected

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write_and_rename(self, name: str, content: BinaryIO) -> None:
        self._require_root()
        target = self._path(name)
        folder, _, last = target.rpartition("/")
        partial = f"{folder}/.{last}.{secrets.token_hex(4)}.partial"
        self._filesystem.makedirs(folder, exist_ok=True)
        try:
            with self._filesystem.open(partial, "wb") as file:
                shutil.copyfileobj(content, file)
                if self._scheme == _FILE:
                    file.flush()
                    os.fsync(file.fileno())
            self._filesystem.mv(partial, target)
        except BaseException:
            if self._filesystem.exists(partial):
                self._filesystem.rm_file(partial)
            raise

    def _require_root(self) -> None:
        """Raise SetupError for a folder that is not there: what it is mounted from may be away."""
        if self._scheme == _FILE and not Path(self._root).is_dir():
            raise StoreAwayError(
                f"there is no folder for evidence at {self.label}", next_step="mount it, or make it with mkdir"
            )

    @contextmanager
    def _explaining(self, task: str) -> Iterator[None]:
        """Turn what a filesystem raises into an error for a person."""
        try:
            yield
        except (SetupError, RequestError):
            raise
        except PermissionError as error:
            raise SetupError(
                f"{self.label} denies {task}: {self._words(error)}",
                next_step="check the credentials, and that they may read and write there",
            ) from error
        except Exception as error:
            if type(error).__name__ == "BucketMissingError":
                bucket = self._root.partition("/")[0]
                raise SetupError(
                    f"{self.label} cannot be used: there is no bucket {bucket}",
                    next_step=f"make it (aws s3 mb s3://{bucket}), or correct the URL",
                ) from error
            raise StoreAwayError(
                f"{self.label} cannot be reached for {task}: {self._words(error)}",
                next_step="see whether it runs and answers; evidence stays on this machine until it is sent",
            ) from error

    def _words(self, error: Exception) -> str:
        words = " ".join(f"{error}".split()) or type(error).__name__
        for secret in self._hidden:
            words = words.replace(secret, "...")
        return clip(printable(_CREDENTIALS.sub("...", words)), _MOST_WORDS)


RESEND = "send it again from the machine that has it: `ptp-harness evidence send RUN`"
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*@|\?\S*")


def open_store(url: str) -> ObjectStore:
    """Open the store at a URL; nothing is sent yet. Raises RequestError for a URL that is none, or that is unknown."""
    import fsspec  # slow to load, and most commands need no store

    parts = _parse(url)
    if parts.scheme == _S3:
        from harness.store.s3_filesystem import S3FileSystem

        fsspec.register_implementation(_S3, S3FileSystem, clobber=True)
    store = ObjectStore(url, parts)
    try:
        fsspec.get_filesystem_class(parts.scheme)
    except ImportError as error:
        raise RequestError(
            f"{store.label} needs a package that is not installed", next_step=clip(printable(str(error)), _MOST_WORDS)
        ) from error
    except ValueError as error:
        raise RequestError(
            f"{store.label} is no URL of evidence: {parts.scheme}:// is not known", next_step=f"write {FORMS}"
        ) from error
    return store


def _parse(url: str) -> SplitResult:
    """Take a URL apart. No message shows it, since a part that is misplaced may be a password."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme and "://" in url and "::" not in url and (parts.port or 0) >= 0)
    except ValueError:
        usable = False
    if not usable:
        raise RequestError("the URL of the evidence is none", next_step=f"write {FORMS}")
    if parts.scheme == _FILE and (parts.netloc or not parts.path.strip("/")):
        raise RequestError("a file URL of evidence names a folder from the root on", next_step="write file:///FOLDER")
    if parts.scheme == _S3 and ("@" in parts.netloc or parts.query or not parts.netloc):
        raise RequestError(
            "an s3 URL of evidence has a bucket and a prefix, and no credentials",
            next_step="write s3://BUCKET/PREFIX; credentials are those of AWS_PROFILE or AWS_ACCESS_KEY_ID",
        )
    return parts


def _make_label(parts: SplitResult) -> str:
    place = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{place}{parts.path.rstrip('/')}")


def retrying(action: Callable[[], Result], pause: Pause) -> Result:
    """Carry out an action again while the store is away, after 0.5, 1, 2 and 4 s. Raises its last StoreAwayError.

    `pause` waits so many seconds, and returns True when the caller was asked to stop: then the action is not repeated.
    """
    pause_s = _FIRST_PAUSE_S
    for number in range(1, TRIES + 1):
        try:
            return action()
        except StoreAwayError as error:
            if number == TRIES or pause(pause_s * random.uniform(0.8, 1.2)):
                raise
            _log.info("try %d of %d: %s", number, TRIES, error.message)
        pause_s *= 2
    raise AssertionError("the last try raises")
