"""Run one suite of tests by pytest, in a pod: its log is streamed, and its JUnit is what is left."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.tier_report import parse_junit
from harness.cluster.tier_store import MOST_JUNIT_BYTES, SuiteResult
from harness.system import proc

HOME = Path("/opt/ptp-harness-tests")
"""Where the image of the tests has the source tree (`source`) and an environment with what tests need."""

_LONGEST_S = 6 * 3600.0
_GRACE_S = 10.0
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestEnd:
    """How pytest ended. `status`: negative for a signal. `result`: None where it left no JUnit."""

    status: int
    result: SuiteResult | None


def run_pytest(
    files: Sequence[str], marks: str, on_line: Callable[[str], None], cancelled: Callable[[], bool], home: Path = HOME
) -> PytestEnd:
    """Run tests of the source tree below `home`, and give each line that pytest prints to `on_line`.

    Pytest gets no variable of ours: neither the ledger and the evidence store of a team, nor credentials. Raises
    SetupError where it cannot be started, CommandError where it takes hours.
    """
    source = home / "source"
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        junit = Path(folder, "junit.xml")
        environ = {
            "PATH": f"{home}/bin:{_SEARCH}",
            "HOME": folder,
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{source}:{source}/lab",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis",
        }
        options = ["-p", "no:cacheprovider", "--color=no", f"--basetemp={folder}/b", f"--junitxml={junit}"]
        argv = ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), f"{home}/bin/python"]
        argv += ["-m", "pytest", *options, *(["-m", marks] if marks else []), *files]
        done = proc.run_with_progress(
            argv,
            stdin="",
            timeout_s=_LONGEST_S,
            grace_s=_GRACE_S,
            on_line=on_line,
            cancelled=cancelled,
            cwd=source,
        )
        for line in done.stderr.splitlines():
            on_line(line)
        content = junit.read_bytes() if junit.is_file() and junit.stat().st_size <= MOST_JUNIT_BYTES else b""
    if parse_junit(content) is None:
        return PytestEnd(status=done.status, result=None)
    result = SuiteResult(status=done.status, seconds=round(done.seconds, 1), junit=content)
    return PytestEnd(status=done.status, result=result)
