"""The command, called as a person calls it: in a folder of its own, with books of its own."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import app

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """The command within this process: hundreds of calls would start Python for a second each.

    What a program that the command starts writes itself is not in the answer; `call_process` has that too.
    """

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
        argv = [app.NAME, *words]
        umask, status = os.umask(0o022), 0
        try:
            with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nobody:
                for name, value in _environ(tmp_path, environ).items():
                    patch.setenv(name, value)
                patch.chdir(tmp_path)
                for name, value in {"argv": argv, "stdin": nobody, "stdout": out, "stderr": err}.items():
                    patch.setattr(sys, name, value)
                app.main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os.umask(umask)
        return subprocess.CompletedProcess(argv, status, _text(out), _text(err))

    return run


@pytest.fixture
def call_process(tmp_path: Path) -> Call:
    """The command in a process of its own."""

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        env = os.environ | _environ(tmp_path, environ)
        argv = [sys.executable, "-m", "harness", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, cwd=tmp_path)

    return run


def _environ(folder: Path, environ: dict[str, str]) -> dict[str, str]:
    return {"PTP_HARNESS_STATE_DIR": str(folder / "state"), "COLUMNS": "200"} | environ


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()
