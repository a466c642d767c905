"""Start `ptp-harness serve` in a process of its own, as a person does, on a port that is free."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_STARTS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 30.0


@dataclass(frozen=True)
class ServeProcess:
    """The process of a service that answers at `url`."""

    url: str
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def memory_mib(self) -> float:
        """How much memory it holds, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@contextmanager
def serving(state_dir: Path, *words: str, ledger_url: str | None = None) -> Iterator[ServeProcess]:
    """Serve until the block ends; the process is then ended by a signal, and must end in order."""
    environ = os.environ | {
        "PTP_HARNESS_STATE_DIR": str(state_dir),
        "PTP_HARNESS_CACHE_DIR": str(state_dir / "cache"),
        "PTP_HARNESS_LEDGER_URL": ledger_url or f"sqlite:///{state_dir}/ledger.sqlite",
    }
    argv: Sequence[str] = [sys.executable, "-m", "harness", "serve", "--listen", "127.0.0.1:0", *words]
    process = subprocess.Popen(argv, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield ServeProcess(url=_read_url(process), process=process)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=_ENDS_WITHIN_S)
    assert process.returncode == 0, said


def _read_url(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    give_up_at = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < give_up_at:
        line = process.stderr.readline()
        found = re.search(r"serving on (https?://\S+);", line)
        if found:
            return found[1]
        assert line or process.poll() is None, "the service ended at its start"
    raise AssertionError("the service did not start")
