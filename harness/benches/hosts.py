"""Use existing machines, listed in an Ansible inventory, as a source of hosts. No machine is created or destroyed."""

import datetime
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.benches.bench import BenchError, Check, InstanceType, Progress, ignore_progress, refuse_disturbance
from harness.errors import CommandError, RequestError
from harness.model import Machine, Offer, Placement, Resource, Token
from harness.model.disturbances import Disturbance
from harness.system import proc
from harness.untrusted import input_checks, names
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.plain_text import clip, printable

ROLES = ("ena_driver_", "linuxptp_", "chrony_phc_", "clock_facts_")
"""Prefixes of the roles' variables. Inventory variables with these prefixes are passed to the roles."""

KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")
_KEYS = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_DEADLINE_S = 60.0
_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryHost:
    """A host of the inventory with its variables."""

    name: str
    variables: Mapping[str, Any]

    @property
    def address(self) -> str:
        return str(self.variables.get("ansible_host") or self.name)

    @property
    def port(self) -> int | None:
        """The SSH port, 22 by default; None when the inventory's value is no port number."""
        text = str(self.variables.get("ansible_port") or 22)
        return int(text) if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536 else None

    @property
    def user(self) -> str:
        return str(self.variables.get("ansible_user") or os.environ.get("USER") or "root")

    @property
    def role_variables(self) -> Mapping[str, Any]:
        return {key: value for key, value in self.variables.items() if key.startswith(ROLES)}

    @property
    def mistake(self) -> str:
        """The first variable that cannot be passed to ssh or to the roles, as a message; empty when all can."""
        for name, pattern, text in (
            ("ansible_host", names.ADDRESS, self.address),
            ("ansible_user", names.LOGIN, self.user),
        ):
            if not names.fits(pattern, text):
                return f"its {name} is {shorten_value(text)}, which is not a valid name for ssh"
        if self.port is None:
            return f"its ansible_port is {shorten_value(self.variables['ansible_port'])}, which is not a port"
        paths = (*_KEYS, "ptp_harness_known_hosts")
        for name in (name for name in paths if self.variables.get(name)):
            if not _is_path(str(self.variables[name])):
                return f"its {name} is {shorten_value(self.variables[name])}, which is not a path"
        unfit = input_checks.describe_unfit_text(self.role_variables)
        return f"its variable {unfit[0]}" if unfit else ""

    @property
    def private_key(self) -> Path | None:
        """The private key's path; None when ssh uses a default key or an agent's."""
        path = next((self.variables[name] for name in _KEYS if self.variables.get(name)), None)
        return Path(str(path)).expanduser() if path else None

    @property
    def ssh_options(self) -> tuple[str, ...]:
        texts = (str(self.variables.get(name) or "") for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))
        return tuple(argument for text in texts for argument in shlex.split(text))

    @property
    def known_hosts_name(self) -> str:
        """The host's name in known_hosts: the address, as `[address]:port` when the port is not 22."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


class HostsBench:
    """The hosts of an inventory. Each host is a type of its own with exactly one member."""

    name = "hosts"

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory

    def types(self) -> Mapping[str, InstanceType]:
        return {
            name: InstanceType(name=name, summary=clip(printable(f"{entry.user}@{entry.known_hosts_name}")))
            for name, entry in self._entries.items()
        }

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        """Replace groups by their hosts, each host once. Unknown names are returned unchanged, to be reported later."""
        hosts = dict.fromkeys(host for name in names for host in self._members.get(name, (name,)))
        return tuple(hosts)

    def checks(self) -> Sequence[Check]:
        count = len(self._entries)
        return (Check(name="inventory", ok=count > 0, observed=f"{count} hosts", remedy="name hosts in the inventory"),)

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        """Do nothing: the hosts exist already."""

    def terms(self, types: Sequence[str]) -> None:
        """Return None: the hosts cost nothing."""

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        return make_machine(self._entries[instance_type], token, instance_type, self._inventory)

    def find(self, token: Token) -> Machine | None:
        return self.provision(token, token.host, lambda _: None) if token.host in self._entries else None

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        """Do nothing: the host has no lease."""

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        """Refuse: nothing outside of the host reaches its clock."""
        raise refuse_disturbance(disturbance)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        """Do nothing: the host stays as it is."""

    def resources(self) -> Sequence[Resource]:
        return ()

    def api_calls(self, token: Token | None = None) -> None:
        """Return None: no API is called."""

    # -- the inventory

    @cached_property
    def _entries(self) -> Mapping[str, InventoryHost]:
        variables = self._inventory_output.get("_meta", {}).get("hostvars", {})
        hosts = self._members.get("all", ())
        return {name: InventoryHost(name=name, variables=variables.get(name, {})) for name in hosts}

    @cached_property
    def _members(self) -> Mapping[str, tuple[str, ...]]:
        """The hosts of each group and of its child groups, in the inventory's order."""
        groups = {name: group for name, group in self._inventory_output.items() if name != "_meta"}
        return {name: tuple(list_members(name, groups)) for name in groups}

    @cached_property
    def _inventory_output(self) -> Mapping[str, Any]:
        """The output of ansible-inventory. Raises RequestError when the inventory is absent or cannot be read."""
        if not self._inventory.exists():
            raise RequestError(f"there is no inventory {self._inventory}")
        strict = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True", "ANSIBLE_NOCOLOR": "1"}
        command = [str(Path(sys.executable).parent / "ansible-inventory"), f"--inventory={self._inventory}", "--list"]
        try:
            listed = json.loads(proc.run(command, timeout_s=_DEADLINE_S, env=strict).stdout)
        except CommandError as error:
            message = " ".join(error.stderr.replace("[ERROR]:", "").split())[:400]
            raise RequestError(f"the inventory {self._inventory} cannot be read: {message}") from error
        _check_names(listed, self._inventory)
        return dict(listed)


def _check_names(listed: Any, inventory: Path) -> None:
    """Check the inventory's names. Raises RequestError.

    A host's name must not look like a path or an option; there are at most _MOST hosts and groups.
    """
    groups = {name: group for name, group in listed.items() if name != "_meta"}
    hosts = {host for group in groups.values() for host in group.get("hosts", ())}
    if len(hosts) + len(groups) > _MOST:
        raise RequestError(
            f"the inventory {inventory} has more than {_MOST} hosts and groups", next_step="part it into smaller ones"
        )
    bad_names = sorted(name for name in hosts if not names.fits(names.HOST, name))
    if bad_names:
        raise RequestError(
            f"the inventory {inventory} has {', '.join(map(shorten_value, bad_names[:5]))}, which cannot name a host",
            next_step="letters, digits, `.`, `_`, `:` and `-`, of which the first is a letter, a digit or `_`; the "
            "address goes into ansible_host",
        )


def make_machine(entry: InventoryHost, token: Token, instance_type: str, inventory: Path) -> Machine:
    """Make the machine of an inventory's host. Raises BenchError for variables that cannot be used, or no known key."""
    connection = str(entry.variables.get("ansible_connection") or "ssh")
    if connection not in ("ssh", "smart"):
        raise BenchError(
            f"its connection is {shorten_value(connection)}, and only ssh is supported",
            next_step=f"take ansible_connection out of {inventory}, or leave the host out",
        )
    if (message := entry.mistake) or entry.port is None:
        raise BenchError(message, next_step=f"correct it in {inventory}, or leave the host out")
    options = _read_ssh_options(entry, inventory)
    if entry.private_key is not None:
        _require_readable(entry.private_key, inventory)
    return Machine(
        token=token,
        instance_type=instance_type,
        address=entry.address,
        port=entry.port,
        user=entry.user,
        private_key=str(entry.private_key) if entry.private_key else None,
        known_host=_read_known_host(entry),
        ssh_options=options,
        second_opinion=None,
        role_variables=entry.role_variables,
        placement=Placement(precise=None, detail="the placement was not observed"),
        claim=None,
        offer=Offer(available=True, where=f"the inventory {inventory}"),
        detail=f"{entry.known_hosts_name} is there already",
    )


def list_members(name: str, groups: Mapping[str, Any]) -> list[str]:
    """List the hosts of a group and of its descendants, each group and host once, the group's own hosts first."""
    visited, hosts, pending = set[str](), dict[str, None](), [name]
    while pending:
        group = pending.pop()
        if group not in visited:
            visited.add(group)
            hosts |= dict.fromkeys(groups.get(group, {}).get("hosts", ()))
            pending += reversed(groups.get(group, {}).get("children", ()))
    return list(hosts)


def _read_ssh_options(entry: InventoryHost, inventory: Path) -> tuple[str, ...]:
    """Return the SSH arguments of the inventory, split like a shell. Raises BenchError on an unclosed quote."""
    try:
        return entry.ssh_options
    except ValueError as error:
        raise BenchError(
            f"its SSH arguments cannot be read: {error}", next_step=f"correct ansible_ssh_common_args in {inventory}"
        ) from error


def _is_path(text: str) -> bool:
    try:
        Path(text).expanduser()
    except RuntimeError:  # `~user` of a user who does not exist
        return False
    return names.fits(names.PATH, text)


def _require_readable(key: Path, inventory: Path) -> None:
    """Check that a private key is a file that this user can read. Raises BenchError."""
    try:
        with key.open("rb"):
            return
    except OSError as error:
        raise BenchError(
            f"its SSH key {key} cannot be read: {error.strerror}",
            next_step=f"correct the key's path or mode, or ansible_ssh_private_key_file in {inventory}",
        ) from error


def _read_known_host(entry: InventoryHost) -> str:
    """Return the known_hosts lines of the host. Raises BenchError when its key is unknown: no key is trusted unseen."""
    configured_file = entry.variables.get("ptp_harness_known_hosts")
    files = [Path(name).expanduser() for name in ([str(configured_file)] if configured_file else KNOWN_HOSTS)]
    lines: list[str] = []
    for file in files:
        if file.is_file():
            output = proc.run(
                ["ssh-keygen", "-F", entry.known_hosts_name, "-f", str(file)], timeout_s=30, check=False
            ).stdout
            lines += [line for line in output.splitlines() if line and not line.startswith("#")]
    if not lines:
        raise BenchError(
            f"the host key of {entry.known_hosts_name} is not known",
            next_step="log in once by ssh and check the key, or name a file in ptp_harness_known_hosts",
        )
    return "\n".join(lines)
