"""Read the token of a service from a file."""

from pathlib import Path

from harness.errors import RequestError

_MOST_BYTES = 4096


def read_token(file: Path) -> str:
    """Read a token from a file of one line. Raises RequestError."""
    try:
        with file.open("rb") as content:
            return content.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise RequestError(
            f"cannot read the token in {file}: {error.strerror}",
            next_step="name a file with the line that `ptp-harness token create` printed",
        ) from error
