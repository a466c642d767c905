"""`lab copy`: copy files onto a lab host or back."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import lab
from harness.errors import RequestError
from harness.host import file_copy, ssh


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="PATH here, or HOST:PATH on a lab host.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="HOST:PATH, or PATH here.")],
) -> None:
    """Copy files onto a lab host or back.

    Content, mode and times are kept, folders are copied whole, links are followed. A local PATH that contains a colon
    must begin with `/` or `./`.

    Examples:
        ptp-harness lab copy lab.phc:/var/log/chrony ./chrony
        ptp-harness lab copy chrony.conf lab.phc:/etc/chrony/chrony.conf
    """
    remote_source, remote_target = _split_remote(source), _split_remote(target)
    if (remote_source is None) == (remote_target is None):
        raise RequestError(
            "exactly one of SOURCE and TARGET must be on a lab host", next_step="HOST:PATH, as `lab list` names HOST"
        )
    bench = lab.lab_bench()
    host, path = remote_source or remote_target or ("", "")
    record = lab.find_host(bench, host)
    machine = bench.find(record.token)
    if machine is None:
        raise RequestError(f"{host} does not run", next_step="`ptp-harness lab list`")
    known_hosts = ssh.write_known_hosts(machine, record.folder)
    if remote_source:
        file_copy.copy_from_host(machine, known_hosts, path, Path(target))
    else:
        file_copy.copy_to_host(machine, known_hosts, Path(source), path)


def _split_remote(text: str) -> tuple[str, str] | None:
    """Split HOST:PATH; None for a local path. A local path with a colon begins with `/` or `.`."""
    host, colon, path = text.partition(":")
    return (host, path) if colon and host and not text.startswith(("/", ".")) else None
