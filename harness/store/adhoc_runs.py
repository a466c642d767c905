"""Find the process that keeps hosts outside the ledger: the name of their run identifies the process.

This is only safe where names are made on this machine, as in the lab: in a cloud, anybody who may tag can write such a
name.
"""

import re
import secrets

from harness.system.proc import ProcessId, own_process

_NAME = re.compile(r"pool(\d+)x(\d+)x[0-9a-f]{4}")


def make_run_name() -> str:
    """Make a new name for the run of hosts that this process keeps and removes itself."""
    process = own_process()
    return f"pool{process.pid}x{process.start_ticks}x{secrets.token_hex(2)}"


def find_owner(run: str) -> ProcessId | None:
    """Find the process that keeps this run's hosts; None for a run with any other name."""
    match = _NAME.fullmatch(run)
    return ProcessId(pid=int(match[1]), start_ticks=int(match[2])) if match else None
