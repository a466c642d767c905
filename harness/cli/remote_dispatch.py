"""Let a service carry out a command, where the command line or the environment names one."""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from harness.cli.server_options import SERVER, NamedServer
from harness.errors import RequestError

REMOTE: Mapping[str, str] = {
    "harness.cli.run:run": "harness.cli.remote_run:run",
    "harness.cli.cancel:cancel": "harness.cli.remote_runs:cancel",
    "harness.cli.runs:runs": "harness.cli.remote_runs:runs",
    "harness.cli.show:show": "harness.cli.remote_show:show",
    "harness.cli.report:report": "harness.cli.remote_report:report",
    "harness.cli.diff:diff": "harness.cli.remote_report:diff",
    "harness.cli.keep:keep": "harness.cli.remote_hosts:keep",
    "harness.cli.keep:release": "harness.cli.remote_hosts:release",
    "harness.cli.site:list_sites": "harness.cli.remote_sites:list_sites",
    "harness.cli.site:sync": "harness.cli.remote_sites:sync",
}
"""What is called in place of a command: the same parameters by name, behind the service."""

OF_RUNS_HERE = (
    "harness.cli.resume:resume",
    "harness.cli.judge:judge",
    "harness.cli.samples:samples",
    "harness.cli.baseline:add",
    "harness.cli.baseline:list_runs",
    "harness.cli.baseline:remove",
    "harness.cli.keep:enter",
    "harness.cli.sweep:sweep",
)
"""Commands about runs of this machine's ledger: where a service is named, they would be taken for its runs."""


def make_remote_call(local: Callable[..., Any], function: str, command: str, server: NamedServer) -> Callable[..., Any]:
    """Make what is called for a command when a service is named; it is parsed like the command.

    `function`: the command's, as `module:function`. A command that has no form for a service is refused; one that is
    about this machine itself is refused only if the command line names the service, and not the environment.
    """
    remote = REMOTE.get(function)
    if remote is None and not server.by_flag and function not in OF_RUNS_HERE:
        return local

    @functools.wraps(local)
    def call(**parameters: Any) -> Any:
        if remote is None:
            raise RequestError(
                f"`{command}` has no form for a service: it works with the ledger and the machines of whoever calls it",
                next_step=f"call it on the machine of the service, without --server and the variable {SERVER}",
            )
        module, _, name = remote.partition(":")
        return getattr(importlib.import_module(module), name)(server, **parameters)

    return call
