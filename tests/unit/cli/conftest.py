"""The command, called as a person calls it: in a folder of its own, with books of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        env = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200"} | environ
        argv = [sys.executable, "-m", "harness", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    return run
