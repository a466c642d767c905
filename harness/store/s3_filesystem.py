"""Read and write objects of Amazon S3, and of servers that speak its protocol, as a filesystem of fsspec over boto3.

s3fs, fsspec's own filesystem for S3, needs an aiobotocore that allows only some older releases of botocore: it cannot
be installed together with the boto3 that is locked here. This class has what evidence needs: put, get, list, exists.
Endpoint, profile, Region and credentials are boto3's own (AWS_ENDPOINT_URL, AWS_PROFILE, ...).
"""

import io
import threading
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.parsers import ResponseParserError
from fsspec.spec import AbstractFileSystem

CONNECT_S, READ_S = 5, 60
_DENIED = (
    "AccessDenied", "AllAccessDisabled", "AccountProblem", "ExpiredToken", "Forbidden", "InvalidAccessKeyId",
    "InvalidToken", "SignatureDoesNotMatch", "403",
)  # fmt: skip
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; a HEAD request has the status alone."""

_ABSENT = ("NoSuchKey", "NotFound", "404")


class BucketMissingError(OSError):
    """The bucket of a request does not exist, or not for these credentials."""


class S3FileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Objects by the path `BUCKET/KEY`. A put is atomic: S3 shows an object once it is whole.

    Raises FileNotFoundError, PermissionError, BucketMissingError, and ConnectionError for all that may pass.
    """

    protocol = "s3"
    cachable = False  # credentials and endpoint are those of the moment

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = threading.Lock()
        self._client: Any = None

    def put_file(self, lpath: Any, rpath: str, *_arguments: Any, **_options: Any) -> None:
        """Put the content of a local file as one object, of at most 5 GiB."""
        with Path(lpath).open("rb") as file:
            self._call("put_object", rpath, Body=file)

    def pipe_file(self, path: str, value: bytes, *_arguments: Any, **_options: Any) -> None:
        """Put bytes as one object."""
        self._call("put_object", path, Body=value)

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """Describe one object: name, size in bytes, type "file"."""
        answer = self._call("head_object", path)
        return {"name": self._strip_protocol(path), "size": answer["ContentLength"], "type": "file"}

    def exists(self, path: str, **_options: Any) -> bool:
        """Return whether there is an object. Raises the errors of the class when that cannot be found out."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """List the objects and folders right below a path; nothing below a path that has none."""
        bucket, key = _split(self._strip_protocol(path))
        prefix = f"{key.rstrip('/')}/" if key else ""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", f"{bucket}/", key=False, Prefix=prefix, Delimiter="/", **token)
            for folder in page.get("CommonPrefixes", ()):
                name = f"{bucket}/{folder['Prefix'].rstrip('/')}"
                found.append({"name": name, "size": 0, "type": "directory"})
            for entry in page.get("Contents", ()):
                found.append({"name": f"{bucket}/{entry['Key']}", "size": entry["Size"], "type": "file"})
            if not page.get("IsTruncated"):
                return found if detail else [each["name"] for each in found]
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def open(self, path: str, mode: str = "rb", *_arguments: Any, **_options: Any) -> Any:
        """Open an object to be read in parts, from its beginning."""
        if mode != "rb":
            raise NotImplementedError(f"mode {mode!r}")
        return io.BufferedReader(_Body(self._call("get_object", path)["Body"]))

    def _call(self, operation: str, path: str, *, key: bool = True, **parameters: Any) -> Any:
        bucket, name = _split(self._strip_protocol(path))
        if key:
            parameters["Key"] = name
        try:
            return getattr(self._connect(), operation)(Bucket=bucket, **parameters)
        except ClientError as error:
            raise _translate(error, path) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise PermissionError(str(error)) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise ConnectionError(str(error)) from error

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
                self._client = boto3.Session().client("s3", config=config)
            return self._client


class _Body(io.RawIOBase):
    """The content of an object. An error of the connection is a ConnectionError."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._body.read(len(buffer))
        except BotoCoreError as error:
            raise ConnectionError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


def _translate(error: ClientError, path: str) -> OSError:
    details = error.response.get("Error", {})
    code, words = str(details.get("Code", "")), str(details.get("Message", "")) or str(error)
    if code == "NoSuchBucket":
        return BucketMissingError(words)
    if code in _ABSENT:
        return FileNotFoundError(path)
    return PermissionError(f"{code}: {words}") if code in _DENIED else ConnectionError(f"{code}: {words}")
