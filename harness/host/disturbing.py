"""Disturb a host's clock by the program disturb.py, which runs in the host and marks when it did."""

from pathlib import Path

from harness.host.playbooks import Target
from harness.model.disturbances import KINDS, Disturbance
from harness.system import proc

_DEADLINE_S = 60.0
_MOST_MARKS_BYTES = 1 << 18


class DisturbedHost:
    """A host whose clock is disturbed by disturb.py (`script`); `marks` is the file of its marks on the host.

    The methods raise CommandError where the host does not do what it is told.
    """

    def __init__(self, target: Target, script: Path, marks: str) -> None:
        self._target, self._script, self._marks = target, script.read_text(), marks

    def disturb(self, disturbance: Disturbance) -> None:
        """Begin a disturbance that a program in the host causes. It ends by itself."""
        self._run(disturbance, f"--seconds={KINDS[disturbance].lasts_s:g}")

    def mark(self, disturbance: Disturbance, kind: str) -> None:
        """Mark a disturbance that is caused otherwise as "begun" or "ended"."""
        self._run(disturbance, f"--mark={kind}")

    def read_marks(self) -> str:
        """Read all marks, and remove them from the host."""
        read = proc.run(self._target.as_root("cat", self._marks), timeout_s=_DEADLINE_S, most_out=_MOST_MARKS_BYTES)
        proc.run(self._target.as_root("rm", "-f", self._marks), timeout_s=_DEADLINE_S, check=False)
        return read.stdout

    def _run(self, disturbance: Disturbance, option: str) -> None:
        argv = self._target.as_root("python3", "-", f"--marks={self._marks}", f"--name={disturbance}", option)
        proc.run(argv, stdin=self._script, timeout_s=_DEADLINE_S)
