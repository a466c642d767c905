"""The controls that the caller of a run gives, and the context that all hosts of the run share."""

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign
from harness.model import HostRecord, Stage
from harness.runs.release_failures import ReleaseFailures
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings

Listener = Callable[[str, Stage, str], None]
"""Takes a host's name, its stage and one short line about what is done now."""


class Interrupted(Exception):
    """We were asked to stop: not an error, and no news about the clock."""


Chooser = Callable[[str, Sequence[HostRecord]], Collection[str]]
"""Takes a run's name and its hosts that passed; returns the names of those that stay. KeyboardInterrupt means: none."""


def keep_none(_run: str, _hosts: Sequence[HostRecord]) -> Collection[str]:
    """The chooser of a run that asks nobody."""
    return ()


def _ignore(_text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunControls:
    """The decisions of a run's caller: who hears its news, which hosts stay, and when it stops.

    `announce` takes the price and terms of a cloud's hosts, before the first of them is made. Once `stop` is set, hosts
    under way are judged by what is known, and released. The context that `while_leading` gives is entered for the time
    in which hosts may run: a command takes signals then. Leading a run itself installs no signal handler.
    """

    listener: Listener
    choose: Chooser = keep_none
    announce: Callable[[str], None] = _ignore
    stop: threading.Event = field(default_factory=threading.Event)
    while_leading: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The parts that all hosts of one run share. `fatal` means: provision nothing more.

    `afresh`: an earlier attempt may have left something of them, which is removed first.
    """

    run: str
    bench: Bench
    campaign: Campaign
    ledger: Ledger
    folder: EvidenceFolder
    settings: Settings
    controls: RunControls
    afresh: bool = False
    fatal: threading.Event = field(default_factory=threading.Event)
    failures: ReleaseFailures = field(default_factory=ReleaseFailures)
