"""An inventory as a source of hosts: read by Ansible itself, every host key pinned, nothing made."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.benches.bench import BenchError
from harness.benches.hosts import HostsBench, list_members
from harness.errors import RequestError
from harness.model import Token

pytestmark = pytest.mark.programs

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
        ("c: {ansible_port: x}", "its ansible_port is 'x', which is not a port"),
        ("c: {ansible_port: 65536}", "its ansible_port is 65536, which is not a port"),
        ("c: {ansible_port: -1}", "its ansible_port is -1, which is not a port"),
        ("c: {ansible_user: -oProxyCommand=x}", "its ansible_user is '-oProxyCommand=x', which is not a valid name"),
        ("c: {ansible_host: '{{ x }}'}", "its ansible_host is '{{ x }}', which is not a valid name for ssh"),
        ("c: {ansible_ssh_private_key_file: ~nobody.at.all/k}", "its ansible_ssh_private_key_file is .* is not a path"),
        ('c: {ansible_ssh_common_args: "-o \'x"}', "its SSH arguments cannot be read: No closing quotation"),
        ("c: {chrony_phc_device: '{{ x }}'}", "its variable chrony_phc_device holds '{{', which begins a template"),
        ('c: {clock_facts_ntp_servers: [a, "b\\nc"]}', r"its variable clock_facts_ntp_servers\.1 holds U\+000A"),
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


@pytest.mark.parametrize("user", ["first.last", "ada@example.org", "Ada", "svc+ptp"])
def test_directories_have_users_like_that(made: Made, user: str) -> None:
    bench = made(INVENTORY.replace("ansible_user: admin", f"ansible_user: {user}"))
    assert bench.provision(Token(run="r", host="a"), "a", print).user == user


@pytest.mark.parametrize("name", ["../../x", "-x", "a b", "a;b", ".a"])
def test_a_host_s_name_is_no_path_and_no_option(made: Made, name: str) -> None:
    with pytest.raises(
        RequestError, match=r"the inventory .*inventory\.yaml has .*, which cannot name a host"
    ) as refused:
        made(f"all: {{hosts: {{ok: {{}}, {json.dumps(name)}: {{}}}}}}").types()
    assert repr(name) in refused.value.message


def test_groups_that_stand_below_each_other_in_a_circle_end() -> None:
    groups = {
        f"g{number}": {"children": [f"g{(number + 1) % 5000}"], "hosts": [f"h{number}"]} for number in range(5000)
    }
    assert list_members("g", {"g": {"children": ["g0", "g0"]}, **groups}) == [f"h{number}" for number in range(5000)]
