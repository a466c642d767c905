"""What do all hosts of one run share on their way?"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.benches.bench import Bench
from harness.campaign.campaign import Campaign
from harness.model import Stage
from harness.runs.release_failures import ReleaseFailures
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.system.settings import Settings

Listener = Callable[[str, Stage, str], None]
"""Takes a host's name, its stage and one short line about what is done now."""


class Interrupted(Exception):
    """We were asked to stop: not an error, and no news about the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What the ways of all hosts of one run share. `stop` ends them early; `fatal` means: provision nothing more.

    `afresh`: an earlier attempt may have left something of them, which is removed first.
    """

    run: str
    bench: Bench
    campaign: Campaign
    ledger: Ledger
    folder: EvidenceFolder
    settings: Settings
    listener: Listener
    afresh: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    fatal: threading.Event = field(default_factory=threading.Event)
    failures: ReleaseFailures = field(default_factory=ReleaseFailures)
