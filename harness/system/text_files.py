"""Read the text of a file that a person names, bounded."""

from pathlib import Path

from harness.errors import RequestError
from harness.untrusted.input_checks import MOST_BYTES


def read_text(name: str, *, kind: str, title: str) -> str:
    """Read a file in UTF-8. Raises RequestError that names it: `title` as "the campaign file", `kind` as "campaign"."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise RequestError(f"{name}: more than {MOST_BYTES} bytes are no {kind}", next_step="split the file")
        return content.decode()
    except OSError as error:
        raise RequestError(f"cannot read {title} {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{title} {name} is not text: {error.reason} at byte {error.start}") from error
