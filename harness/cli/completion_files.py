"""Name the file of the user's shell that `--install-completion` edits, before and after the edit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.cli import output

INSTALL_HELP = "Install completion for the current shell: edits ~/.bashrc or ~/.zshrc, or adds a file for fish."

EDITED_FILES = (".bashrc", ".zshrc")
"""Files in the home directory to which a shell's completion adds lines."""


class InstallCompletion:
    """Install completion by Typer's function, which names only the new file, and name the edited file as well."""

    def __init__(self, install: Callable[[Any, Any, Any], Any]) -> None:
        self._install = install

    def __call__(self, ctx: Any, param: Any, value: Any) -> Any:
        files = [Path.home() / name for name in EDITED_FILES]
        before = [_content(file) for file in files]
        try:
            return self._install(ctx, param, value)  # ends the process once it has installed
        finally:
            for file, content in zip(files, before, strict=True):
                if _content(file) != content:
                    output.say(f"added to {file}: the lines that load it; remove them to undo this")


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
