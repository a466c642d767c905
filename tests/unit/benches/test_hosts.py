"""An inventory as a source of hosts: read by Ansible itself, every host key pinned, nothing made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bench import BenchError
from harness.benches.hosts import HostsBench
from harness.errors import RequestError
from harness.model import Token

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"
INVENTORY = """
all:
  vars: {ansible_user: admin, ptp_harness_known_hosts: KNOWN}
  children:
    stockholm:
      hosts:
        a: {ansible_host: 192.0.2.1, chrony_phc_poll: 2}
        b: {ansible_host: 192.0.2.2, ansible_port: 2222, ansible_ssh_common_args: "-J jump.example"}
    dublin:
      hosts:
        c: {}
"""

Made = Callable[[str], HostsBench]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A bench over an inventory of that text."""

    def make(text: str) -> HostsBench:
        known = tmp_path / "known_hosts"
        known.write_text(f"192.0.2.1 {KEY}\n[192.0.2.2]:2222 {KEY}\n")
        file = tmp_path / "inventory.yaml"
        file.write_text(text.replace("KNOWN", str(known)))
        return HostsBench(file)

    return make


def provisioned(bench: HostsBench, name: str) -> object:
    return bench.provision(Token(run="r", host=name), name, print)


def test_hosts_are_types_and_groups_stand_for_them(made: Made) -> None:
    bench = made(INVENTORY)
    assert {name: kind.summary for name, kind in bench.types().items()} == {
        "a": "admin@192.0.2.1",
        "b": "admin@[192.0.2.2]:2222",
        "c": "admin@c",
    }
    assert bench.expand(["all"]) == ("a", "b", "c")
    assert bench.expand(["dublin", "b", "stockholm"]) == ("c", "b", "a")
    assert bench.expand(["nobody"]) == ("nobody",)


def test_a_host_is_spoken_to_as_the_inventory_says(made: Made) -> None:
    bench = made(INVENTORY)
    first = bench.provision(Token(run="r", host="a"), "a", print)
    assert (first.address, first.port, first.user, first.private_key) == ("192.0.2.1", 22, "admin", None)
    assert (first.known_host, first.role_variables) == (f"192.0.2.1 {KEY}", {"chrony_phc_poll": 2})
    second = bench.provision(Token(run="r", host="b"), "b", print)
    assert (second.port, second.known_host) == (2222, f"[192.0.2.2]:2222 {KEY}")
    assert second.ssh_options == ("-J", "jump.example")


def test_nothing_is_made_and_nothing_removed(made: Made) -> None:
    bench = made(INVENTORY)
    bench.release(Token(run="r", host="a"))
    assert bench.resources() == ()
    assert bench.find(Token(run="r", host="a")) is not None
    assert bench.find(Token(run="r", host="x")) is None


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("c: {}", "the host key of c is not known"),
        ("c: {ansible_connection: local}", "its connection is 'local', and only ssh is supported"),
        ("c: {ansible_ssh_private_key_file: /nowhere/key}", "its SSH key /nowhere/key cannot be read"),
    ],
)
def test_a_host_that_cannot_be_spoken_to_says_why(made: Made, host: str, words: str) -> None:
    bench = made(INVENTORY.replace("c: {}", host))
    with pytest.raises(BenchError, match=words):
        provisioned(bench, "c")


@pytest.mark.parametrize("text", ["all: [", "all:\n  hosts: 7\n", "- a\n- b\n"])
def test_a_broken_inventory_is_one_sentence(made: Made, text: str) -> None:
    with pytest.raises(RequestError, match=r"the inventory .*inventory\.yaml cannot be read: \S"):
        made(text).types()


def test_no_inventory() -> None:
    with pytest.raises(RequestError, match="there is no inventory /nowhere"):
        HostsBench(Path("/nowhere")).types()
