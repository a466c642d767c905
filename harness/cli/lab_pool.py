"""`lab pool` keeps fresh hosts waiting; `lab exec` runs a command on a fresh host, which is removed afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from harness.benches.lab.bench import LabBench
from harness.benches.lab.pool import lab_source, pool_server
from harness.benches.lab.pool.pool_state import PoolRules
from harness.campaign.fields import parse_duration_s
from harness.cli import completion, lab, output
from harness.errors import CleanupError, RequestError
from harness.host import ssh
from harness.model import Machine, Token
from harness.store import adhoc_runs
from harness.system import proc, settings

Type = Annotated[
    str,
    typer.Argument(metavar="TYPE", help="As `lab truths` lists them.", autocompletion=completion.lab_types),
]


def pool(
    instance_type: Type,
    size: Annotated[int, typer.Option(help="How many hosts wait.", min=1)] = 1,
    ttl: Annotated[str, typer.Option(metavar="10m", help="Replace a host that has waited so long.")] = "10m",
) -> None:
    """Keep fresh hosts waiting for `lab exec`.

    Ctrl-C removes all of them. Each host counts as a guest of this machine, also while it waits.

    Examples:
        ptp-harness lab pool lab.phc
        ptp-harness lab pool --size 2 --ttl 5m lab.drifting
    """
    bench = lab.lab_bench()
    rules = PoolRules(size=size, most=settings.load().lab_guests, ttl_s=_parse_seconds("--ttl", ttl))
    warm_pool = lab_source.open_pool(bench, instance_type, rules, output.say)
    server = pool_server.PoolServer(warm_pool, pool_server.socket_path(bench, instance_type))
    with server, warm_pool, suppress(KeyboardInterrupt):
        output.say(f"{size} of {instance_type} will be kept warm; Ctrl-C ends it")
        server.serve(until=lambda: False)
    if server.unremoved:
        raise CleanupError(server.unremoved, next_step="`ptp-harness sweep --yes`")


def execute(
    instance_type: Type,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="For its shell.")],
    wait: Annotated[str, typer.Option(metavar="15m", help="How long to wait for a host of a pool.")] = "15m",
) -> None:
    """Run a command on a fresh lab host.

    The host comes from `lab pool` if one of this type runs, else it is made; it is removed afterwards. Ends with the
    exit code of the command.

    Examples:
        ptp-harness lab exec lab.phc cat /sys/class/ptp/ptp0/clock_name
        ptp-harness lab exec --wait 1m lab.drifting 'uname -r; ethtool -i enp1s0'
    """
    bench, wait_s = lab.lab_bench(), _parse_seconds("--wait", wait)
    with _fresh_host(bench, instance_type, wait_s) as machine:
        known_hosts = ssh.write_known_hosts(machine, bench.records.folder(machine.token))
        status = proc.run_interactive(ssh.build_command(machine, known_hosts, *command))
    raise typer.Exit(status)


def _parse_seconds(option: str, text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise RequestError(f"{option} is {text!r}: it {error}") from error


@contextmanager
def _fresh_host(bench: LabBench, instance_type: str, wait_s: float) -> Iterator[Machine]:
    with pool_server.pooled_guest(bench, instance_type, timeout_s=wait_s) as machine:
        if machine is not None:
            yield machine
            return
    bench.prepare([instance_type], output.say)
    token = Token(run=adhoc_runs.make_run_name(), host=instance_type)
    try:
        yield bench.provision(token, instance_type, lambda line: output.say(f"{token.host}: {line}"))
    finally:
        bench.release(token)
