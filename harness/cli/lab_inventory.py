"""`lab inventory`: print running lab hosts as an Ansible inventory, for the bench `hosts` and for playbooks."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import yaml

from harness import wiring
from harness.benches.lab.bench import LabBench
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.cli import completion, lab, output
from harness.host import playbooks, ssh
from harness.model import Machine
from harness.store.ledger_reader import LAST
from harness.system import settings


def inventory(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|HOST",
            help="A run or pool, or a host, as `lab list` has them (default: all that run).",
            autocompletion=completion.lab_hosts,
        ),
    ] = None,
) -> None:
    """Print running lab hosts as an Ansible inventory.

    With this inventory, lab hosts take the place of your own machines. It has each host's address, key and pinned host
    key, and the lab's second opinion. It is valid as long as the hosts run.

    Examples:
        ptp-harness lab inventory > hosts.yaml
        ptp-harness lab inventory lab.phc > hosts.yaml
        ptp-harness lab inventory k3f9 > hosts.yaml
    """
    bench = lab.lab_bench()
    records = _select_records(bench, names or [])
    machines = [(record, machine) for record in records if (machine := bench.find(record.token))]
    if not machines:
        output.say("no such lab host is running; `ptp-harness lab list` lists them")
    repeated = {host for host, count in Counter(record.token.host for record, _ in machines).items() if count > 1}
    hosts = {
        record.token.slug if record.token.host in repeated else record.token.host: _variables(record, machine)
        for record, machine in machines
    }
    output.write(yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False, width=120))


def _select_records(bench: LabBench, names: Sequence[str]) -> list[GuestRecord]:
    """List the records of hosts and of all hosts of runs, each once. Raises RequestError for an unknown name."""
    records = bench.records.all()
    if not names:
        return records
    chosen: dict[str, GuestRecord] = {}
    for name in names:
        run = wiring.ledger(settings.load()).find(LAST).run if name == LAST else name
        of_run = [record for record in records if record.token.run == run]
        chosen |= {str(record.token): record for record in of_run or [lab.find_host(bench, name)]}
    return list(chosen.values())


def _variables(record: GuestRecord, machine: Machine) -> dict[str, Any]:
    return {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "ansible_user": machine.user,
        "ansible_ssh_private_key_file": machine.private_key,
        "ptp_harness_known_hosts": str(ssh.write_known_hosts(machine, record.folder)),
        "ansible_ssh_common_args": shlex.join(("-o", f"UserKnownHostsFile={record.folder / 'known_hosts'}")),
        **playbooks.role_variables(machine),
    }
