"""`keep` and `release` with a service."""

from collections.abc import Sequence

from harness.cli import output, remote_runs
from harness.cli.server_options import NamedServer, connect
from harness.client.failures import UnavailableError
from harness.errors import CleanupError


def keep(server: NamedServer, *, run: str, host: str, duration: str | None) -> None:
    """Keep a host of a run of a service."""
    with connect(server) as client:
        name = remote_runs.find_run(client, run)
        kept = client.keep(name, host, lease=duration)
    until = "" if kept.kept_until is None else f" until {kept.kept_until:%Y-%m-%d %H:%M} UTC"
    output.say(
        f"{host} of run {name} is kept{until}; `ptp-harness --server {server.url} release {name} {host}` removes it"
    )


def release(server: NamedServer, *, run: str, hosts: Sequence[str] | None) -> None:
    """Remove kept hosts of a run of a service. Raises CleanupError when one could not be removed."""
    unremoved: list[str] = []
    with connect(server) as client:
        name = remote_runs.find_run(client, run)
        chosen = list(dict.fromkeys(hosts or [kept.host for kept in client.kept_hosts(run=name)]))
        for host in chosen:
            try:
                client.release(name, host)
            except UnavailableError as error:
                output.say(f"{host} is not removed: {error.message}")
                unremoved.append(host)
            else:
                output.say(f"{host} is released")
    if not chosen:
        output.say(f"run {name} keeps no host")
    if unremoved:
        raise CleanupError(
            unremoved,
            next_step=f"`ptp-harness --server {server.url} release {name}` again, or `ptp-harness sweep` where the "
            "service runs",
        )
