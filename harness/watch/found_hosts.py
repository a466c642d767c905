"""Find the hosts of a command line: kept ones of a run, of an inventory, of an EC2 tag, or as they are named.

Each is given as the name of its stream and the stream's source. All mistakes are told at once, and then none is given.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.benches.bench import Bench, BenchError
from harness.benches.ec2.instances.tagged_instances import TaggedInstance
from harness.benches.hosts import InventoryHost, make_machine
from harness.errors import HarnessError, RequestError
from harness.model import Machine, Token
from harness.runs import kept_hosts
from harness.store.ledger import Ledger
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.nearest import format_suggestion
from harness.watch.stream_sources import check_stream_name, make_source

FoundHost = tuple[str, dict[str, Any]]
"""The name of a stream and its source."""

_COMMAND_LINE = Path("the command line")
_DESTINATION = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<address>\[[^\]]+\]|[^:\s]+)(?::(?P<port>\d{1,5}))?")


def find_kept(ledger: Ledger, bench: Bench, run: str, hosts: Sequence[str]) -> list[FoundHost]:
    """Find hosts that were kept of a run: all, or those named. Raises RequestError."""
    records = {record.name: record for record in kept_hosts.find_kept(ledger, run, hosts)}
    if not records:
        raise RequestError(
            f"run {run} keeps no host that could be watched", next_step="`run --keep supported` keeps hosts that pass"
        )

    def find(name: str) -> FoundHost:
        record, machine = records[name], kept_hosts.find_machine(run, name, bench, ledger)
        drivers = [driver for driver in (record.facts.drivers if record.facts else None) or () if driver.version]
        traits = {
            "instance_type": record.instance_type,
            "region": record.region,
            "zone": record.zone,
            "kernel": record.facts.kernel if record.facts else None,
            "driver": drivers[0].version if drivers else None,
        }
        source = make_source(machine, {"kind": "kept", "run": run, "host": name}, traits=traits)
        return check_stream_name(f"{run}.{name}"), source

    return _find_all([*records], find)


def find_in_inventory(bench: Bench, inventory: str, wanted: Sequence[str]) -> list[FoundHost]:
    """Find hosts of an inventory: all, or those and the groups that are named. Raises RequestError."""
    known = bench.types()
    names = bench.expand(wanted) if wanted else [*known]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            f"the inventory {inventory} has no host or group {unknown[0]!r}{format_suggestion(unknown[0], [*known])}",
            next_step="`ansible-inventory --graph` shows what it has",
        )
    if not names:
        raise RequestError(f"the inventory {inventory} has no host to watch", next_step="name hosts in it")

    def find(name: str) -> FoundHost:
        machine = bench.provision(Token(run="watch", host=name), name, lambda _: None)
        return check_stream_name(name), make_source(machine, {"kind": "inventory"}, traits={})

    return _find_all(names, find)


def find_named(destinations: Sequence[str], key: str | None) -> list[FoundHost]:
    """Find hosts by USER@ADDRESS:PORT; their host keys are those that this user's known_hosts have."""

    def find(destination: str) -> FoundHost:
        match = _DESTINATION.fullmatch(destination)
        if match is None:
            raise RequestError(
                f"{shorten_value(destination)} is no host to watch", next_step="write ADDRESS or USER@ADDRESS:PORT"
            )
        address, port = match["address"].strip("[]"), int(match["port"] or 22)
        name = address if port == 22 else f"{address}-{port}"
        machine = _reach(name, address, user=match["user"], port=port, key=key)
        return check_stream_name(name), make_source(machine, {"kind": "inventory"}, traits={})

    return _find_all(destinations, find)


def find_tagged(
    instances: Sequence[TaggedInstance], region: str, *, user: str, key: str | None, wanted: Sequence[str] = ()
) -> list[FoundHost]:
    """Find instances, of which `wanted` are named or all; the address is the first whose host key is known."""
    missing = [name for name in wanted if name not in {each.instance for each in instances}]
    if missing or not instances:
        raise RequestError(
            f"no running instance {missing[0]} has this tag in {region}"
            if missing
            else f"no running instance has this tag in {region}",
            next_step="see the tags in `aws ec2 describe-instances`, and name its Region by --region",
        )
    by_name = {each.instance: each for each in instances}

    def find(name: str) -> FoundHost:
        instance, errors = by_name[name], []
        for address in instance.addresses:
            try:
                machine = _reach(name, address, user=user, port=22, key=key)
            except BenchError as error:
                errors.append(error)
                continue
            traits = {"instance_type": instance.instance_type, "region": region, "zone": instance.zone}
            return name, make_source(machine, {"kind": "ec2", "region": region, "instance": name}, traits=traits)
        raise (
            errors[-1]
            if errors
            else RequestError(f"instance {name} has no address", next_step="give it one that this machine reaches")
        )

    return _find_all(wanted or [*by_name], find)


def _reach(name: str, address: str, *, user: str | None, port: int, key: str | None) -> Machine:
    values = {"ansible_host": address, "ansible_user": user, "ansible_port": port, "ansible_ssh_private_key_file": key}
    entry = InventoryHost(name=name, variables={each: value for each, value in values.items() if value is not None})
    return make_machine(entry, Token(run="watch", host=name), name, _COMMAND_LINE)


def _find_all(names: Sequence[str], find: Callable[[str], FoundHost]) -> list[FoundHost]:
    """Find each host once. Raises RequestError that says what is wrong with each that cannot be watched."""
    found, mistakes = [], list[HarnessError]()
    for name in dict.fromkeys(names):
        try:
            found.append(find(name))
        except HarnessError as error:
            mistakes.append(error)
    if mistakes:
        messages = dict.fromkeys(error.message for error in mistakes)
        more = f", and {len(messages) - 5} more" if len(messages) > 5 else ""
        raise RequestError(f"{'; '.join([*messages][:5])}{more}", next_step=mistakes[0].next_step)
    return found
