"""Define the controls that the caller of a run gives, and the context that all hosts of the run share."""

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign
from harness.model import HostRecord, Listener
from harness.runs.evidence_sending import EvidenceSender
from harness.runs.release_failures import ReleaseFailures
from harness.runs.run_events import RunEvents
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings


class Interrupted(Exception):
    """The run was asked to stop: not an error, and no evidence about the clock."""


Chooser = Callable[[str, Sequence[HostRecord]], Collection[str]]
"""Takes a run's name and all its hosts, of which the undecided ones wait; returns the names of those that stay.

KeyboardInterrupt means: none.
"""


def keep_none(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
    """Choose no host, without asking a person."""
    return ()


def _without_signal_handlers(_run: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunControls:
    """The decisions of a run's caller: the listener of events, which hosts stay, and when the run stops.

    Once `stop` is set, hosts under way are judged by the evidence so far, and released. `while_leading` takes a run's
    name and makes a context that lasts as long as hosts may run; a command handles signals in it. Leading a run
    itself installs no signal handler.
    """

    listener: Listener
    choose: Chooser = keep_none
    stop: threading.Event = field(default_factory=threading.Event)
    while_leading: Callable[[str], AbstractContextManager[None]] = _without_signal_handlers


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The parts that all hosts of one run share. `fatal` means: provision nothing more.

    `holds_passed`: hosts that passed stay UNDECIDED, and run until they are settled. `joined`: another process leads
    the run; `stopped_by_leader` is set when it asked all to stop. `sender`: None without an evidence store.
    """

    run: str
    started_ns: int  # UTC
    bench: Bench
    campaign: Campaign
    ledger: Ledger
    folder: EvidenceFolder
    settings: Settings
    controls: RunControls
    failures: ReleaseFailures
    events: RunEvents
    sender: EvidenceSender | None = None
    holds_passed: bool = False
    joined: bool = False
    stopped_by_leader: threading.Event = field(default_factory=threading.Event)
    fatal: threading.Event = field(default_factory=threading.Event)

    def gives_back(self) -> bool:
        """Whether a host whose work was interrupted is another process's to begin anew: only this helper stops."""
        return self.joined and not self.stopped_by_leader.is_set()
