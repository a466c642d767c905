"""Which process keeps hosts that belong to no run of the ledger? The name of their run tells it, without any books.

Only where names are made on this machine, which is in the lab: in a cloud, whoever may tag can write such a name.
"""

import os
import re
import secrets

from harness.system.proc import ProcessId, identify

_NAME = re.compile(r"pool(\d+)x(\d+)x[0-9a-f]{4}")


def run_name() -> str:
    """A name, new each time, for the run of hosts that this process keeps and removes itself."""
    me = identify(os.getpid())
    assert me is not None
    return f"pool{me.pid}x{me.start_ticks}x{secrets.token_hex(2)}"


def owner_of(run: str) -> ProcessId | None:
    """The process that keeps this run's hosts; None for a run of any other name."""
    found = _NAME.fullmatch(run)
    return ProcessId(pid=int(found[1]), start_ticks=int(found[2])) if found else None
