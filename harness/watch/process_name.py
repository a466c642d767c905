"""Name the processes of a watch in its ledger."""

import os
import secrets
import socket


def name_process() -> str:
    """Name this process: machine, number, and a part that no other process ever has."""
    return f"{socket.gethostname()[:200]}/{os.getpid()}/{secrets.token_hex(3)}"
