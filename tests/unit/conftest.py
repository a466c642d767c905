"""Machines for tests that need no guest."""

import socket
from pathlib import Path

import pytest

from harness.model import Machine, Offer, Placement, Token

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"


@pytest.fixture
def silent_machine(tmp_path: Path) -> Machine:
    """A machine whose port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Machine(
        token=Token(run="abcd", host="a"),
        instance_type="lab.phc",
        address="127.0.0.1",
        port=port,
        user="root",
        private_key=str(tmp_path / "key"),
        known_host=f"[127.0.0.1]:{port} {KEY}",
        second_opinion=None,
        placement=Placement(precise=None, detail=""),
        claim=None,
        offer=Offer(available=True, where="here"),
    )
