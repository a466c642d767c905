"""Kill runs at every point of sending their evidence, end and send them later, and see that nothing is cut or lost.

    python -m tests.programs.kill_senders URL FOLDER [--every N]

URL is an empty evidence store. A point is before or after each object, each read of the store, each copy and rename of
a folder's file, each entry of what waits, and each note in the ledger. For each point K, or each N-th, a child process
leads a run and is killed there by SIGKILL. Until a killed run is sent, another machine finds nothing or all of it; then
it is resumed if it died, its evidence is sent, and the other machine finds what the first one has.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.runs import campaign_run
from harness.store.evidence_outbox import Outbox
from harness.store.ledger import Ledger
from harness.store.object_store import ObjectStore
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.evidence_machine import Machine, content

PLACES = (
    (ObjectStore, "put_file"), (ObjectStore, "read"), (Outbox, "add"), (Outbox, "remove"), (Ledger, "close_run"),
    (Ledger, "note_evidence"), (shutil, "copyfileobj"), (shutil, "move"),
)  # fmt: skip


class Points:
    """Counts the points that this process passes, and kills it at one."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at, self.passed = kill_at, 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in PLACES:
            patch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, action: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **named: object) -> object:
            self()
            result = action(*arguments, **named)
            self()
            return result

        return watched


def in_child(action: Callable[[], object]) -> tuple[int, str]:
    """Carry out an action in a child; return the signal that ended it (0: none), and what it returned, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                leave_out_ssh(patch)
                os.write(writer, str(action() or "").encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        text = text or "a child failed"
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), text


def lead(folder: Path, url: str, kill_at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Points(kill_at).watch(patch)
        Machine(folder, "leader", url).run()


def recover(folder: Path, url: str) -> str:
    """End and send the run that was killed; return what does not hold."""
    leader, other = Machine(folder, "leader", url), Machine(folder, "other", url)
    if not leader.ledger.runs():
        return ""
    run = leader.ledger.runs()[0].run
    if leader.ledger.find(run).ended:
        try:
            if content(other.find(run).folder) != content(leader.folder(run)):
                return "evidence that is used was cut"
        except RequestError:
            pass  # it is not whole
    else:
        campaign_run.resume(run, leader.prepared(), leader.ledger, leader.settings, leader.controls)
    if unsent := leader.sender().send_waiting(lambda _text: None):
        return f"not sent: {unsent}"
    if leader.waiting():
        return f"{leader.waiting()} waits"
    return "" if content(other.find(run).folder) == content(leader.folder(run)) else "evidence was lost"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, metavar="N")
    options = parser.parse_args()
    kills, point, faults = 0, 1, list[str]()
    while True:
        folder = options.folder / str(point)
        folder.mkdir(parents=True)
        killed, text = in_child(lambda folder=folder, point=point: lead(folder, options.url, point))  # type: ignore[misc]
        faults += [f"point {point}: {text}"] if text else []
        _, text = in_child(lambda folder=folder: recover(folder, options.url))  # type: ignore[misc]
        faults += [f"point {point}: {text}"] if text else []
        if not killed:
            break
        kills, point = kills + 1, point + options.every
    print(json.dumps({"kills": kills, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
