"""Define the table of commands: the function of each, and its line in the list of commands.

A command's file is imported when the command is called, asked for its help, or completed; the list of commands and the
completion of their names need this table alone. A test compares each line with the docstring that it stands for.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from harness.cli.completion_files import INSTALL_HELP, InstallCompletion
from harness.cli.help_text import TAKES_A_COMMAND, HelpCommand
from harness.cli.remote_dispatch import make_remote_call
from harness.cli.server_options import NamedServer, find_server


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `module:function`, the first sentence of the function's docstring, and settings of its parser."""

    function: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    hidden: bool = False  # other programs call it, and no list shows it


@dataclass(frozen=True, slots=True)
class Group:
    """A group of commands and the sentence that explains it."""

    summary: str
    entries: Mapping[str, "Command | Group"]


_IMAGE = {
    "bake": Command("harness.cli.image:bake_image", "Make an image whose hosts pass, of a host that passed."),
    "list": Command("harness.cli.image:list_images", "List the images that were baked in a Region."),
    "delete": Command("harness.cli.image:delete", "Remove baked images and their snapshots, and verify it."),
}
_BASELINE = {
    "add": Command("harness.cli.baseline:add", "Add ended runs to a baseline."),
    "list": Command("harness.cli.baseline:list_runs", "List the baselines and their runs."),
    "remove": Command("harness.cli.baseline:remove", "Remove runs from a baseline; the runs themselves stay."),
}
_CAMPAIGN = {
    "schema": Command("harness.cli.campaign_files:schema", "Print the JSON schema of campaign files."),
    "keys": Command(
        "harness.cli.campaign_files:keys", "Explain the keys of campaign files: values, defaults, meanings."
    ),
    "check": Command("harness.cli.campaign_files:check", "Name every mistake in a campaign file, with its line."),
}
_SNAPSHOT = {
    "create": Command("harness.cli.lab_snapshots:create", "Keep the disk and the memory of a running lab host."),
    "list": Command("harness.cli.lab_snapshots:list_snapshots", "List the snapshots."),
    "restore": Command("harness.cli.lab_snapshots:restore", "Make a new lab host from a snapshot."),
    "delete": Command("harness.cli.lab_snapshots:delete", "Remove snapshots."),
}
_LEDGER = {
    "upgrade": Command("harness.cli.ledger:upgrade", "Upgrade a ledger to this version, or make its tables."),
    "check": Command(
        "harness.cli.ledger:check",
        "Check that a ledger can be reached and is whole.",
    ),
    "export": Command(
        "harness.cli.ledger:export",
        "Write an ended run with its evidence to a file.",
    ),
    "import": Command("harness.cli.ledger:import_run", "Read a run with its evidence from a file of `ledger export`."),
}
_EVIDENCE = {
    "send": Command("harness.cli.evidence:send", "Send evidence to the evidence store."),
    "list": Command("harness.cli.evidence:list_waiting", "List the runs whose evidence waits to be sent."),
    "fetch": Command("harness.cli.evidence:fetch", "Print the folder of a run's evidence, fetched where need be."),
}
_TOKEN = {
    "create": Command("harness.cli.token:create", "Create an access token, and print it once."),
    "list": Command("harness.cli.token:list_tokens", "List the access tokens, without their secrets."),
    "revoke": Command("harness.cli.token:revoke", "Revoke an access token."),
}
_SCHEDULE = {
    "add": Command("harness.cli.schedule:add", "Submit a campaign at set times."),
    "list": Command(
        "harness.cli.schedule:list_schedules", "List the schedules, and why the last task of each was not made."
    ),
    "pause": Command("harness.cli.schedule:pause", "Let a schedule make no tasks until it is resumed."),
    "resume": Command("harness.cli.schedule:resume", "Let a schedule that was paused make tasks again."),
    "remove": Command("harness.cli.schedule:remove", "Remove a schedule; its tasks stay."),
}
_SITE = {
    "add": Command("harness.cli.site:add", "Add a site to the ledger, or change its URL and benches."),
    "list": Command("harness.cli.site:list_sites", "List the sites of the ledger, or those that a service has."),
    "remove": Command("harness.cli.site:remove", "Remove a site from the ledger."),
    "sync": Command("harness.cli.site:sync", "Let a service read its registry of sites now."),
}
_CLUSTER = {
    "run": Command("harness.cli.cluster:run", "Carry out a campaign on a cluster."),
    "status": Command("harness.cli.cluster:status", "Show the runs of a namespace, or the Jobs and pods of one."),
    "logs": Command("harness.cli.cluster:logs", "Print what all pods of a run print."),
    "results": Command("harness.cli.cluster_results:results", "Show what a run has brought so far."),
    "cancel": Command("harness.cli.cluster:cancel", "End a run; its hosts are released."),
    "clean": Command("harness.cli.cluster:clean", "Remove the Jobs and pods of runs that have ended."),
    "test": Command("harness.cli.cluster_tests:run_tests", "Run this project's own tests on a cluster."),
    "image": Command("harness.cli.cluster_image:image", "Build the image of the pods, and push it."),
    "schedule": Command("harness.cli.cluster_schedule:schedule", "Carry out a campaign on a cluster at set times."),
    "smoke": Command("harness.cli.cluster_smoke:smoke", "Say what a cluster lacks for runs, and how to get it."),
    "probe": Command("harness.cli.cluster_pods:probe", "Look at what pods need, in a pod of a cluster.", hidden=True),
    "submit": Command("harness.cli.cluster_pods:submit", "Submit a scheduled run, in a pod of a cluster.", hidden=True),
    "coordinate": Command("harness.cli.cluster_pods:coordinate", "Lead a run, in a pod of a cluster.", hidden=True),
    "pod": Command("harness.cli.cluster_pods:pod", "Qualify hosts of a run, in a pod of a cluster.", hidden=True),
    "coordinate-tests": Command(
        "harness.cli.cluster_tests:coordinate_tests", "Lead a run of tests, in a pod of a cluster.", hidden=True
    ),
    "test-pod": Command(
        "harness.cli.cluster_tests:run_suite", "Run a suite of tests, in a pod of a cluster.", hidden=True
    ),
}
_WATCH = {
    "add": Command("harness.cli.watch_streams:add", "Watch hosts' clocks, until `watch remove`."),
    "remove": Command("harness.cli.watch_streams:remove", "Watch hosts' clocks no longer."),
    "list": Command("harness.cli.watch_streams:list_streams", "List the hosts that are watched, and by which worker."),
    "worker": Command("harness.cli.watch_worker:worker", "Sample and judge watched clocks, here, until it is stopped."),
    "show": Command("harness.cli.watch_show:show", "Show a watched clock: its state, why, and its last hour."),
    "incidents": Command("harness.cli.watch_show:incidents", "List clocks that went bad together, and why."),
    "serve": Command("harness.cli.watch_serve:serve", "Lead the watch of streams, here, until it is stopped."),
    "status": Command(
        "harness.cli.watch_serve:status",
        "Show who leads, what workers do, and the states of clocks.",
    ),
    "check": Command("harness.cli.watch_serve:check", "Check that what the ledger says fits together."),
}
_LAB: Mapping[str, Command | Group] = {
    "build": Command("harness.cli.lab:build", "Make what all lab hosts share."),
    "up": Command("harness.cli.lab:up", "Bring up a host of each type, until `lab down`."),
    "list": Command("harness.cli.lab:list_hosts", "List lab hosts, those made by hand and those of runs."),
    "ssh": Command("harness.cli.lab:enter", "Run a command on a lab host, or open a shell there.", TAKES_A_COMMAND),
    "join": Command("harness.cli.lab:join", "Lay a cable between two lab hosts."),
    "down": Command("harness.cli.lab:down", "Remove lab hosts that were made by hand."),
    "truths": Command("harness.cli.lab:show_truths", "Print each lab type's truth and the verdict it demands."),
    "copy": Command("harness.cli.lab_copy:copy", "Copy files onto a lab host or back."),
    "inventory": Command("harness.cli.lab_inventory:inventory", "Print running lab hosts as an Ansible inventory."),
    "pool": Command("harness.cli.lab_pool:pool", "Keep fresh hosts waiting for `lab exec`."),
    "exec": Command("harness.cli.lab_pool:execute", "Run a command on a fresh lab host.", TAKES_A_COMMAND),
    "snapshot": Group("Keep lab hosts' disks and memory, make hosts from them.", _SNAPSHOT),
}
COMMANDS: Mapping[str, Command | Group] = {
    "doctor": Command("harness.cli.doctor:doctor", "Say what is missing on this machine, and how to get it."),
    "types": Command("harness.cli.types:types", "List instance types and what the API claims of their clocks."),
    "plan": Command("harness.cli.plan:plan", "Say what a run would do: hosts, order, limits, time, cost."),
    "run": Command("harness.cli.run:run", "Make hosts, measure and judge their clocks, report, release."),
    "resume": Command("harness.cli.resume:resume", "Go on with a run whose process died."),
    "cancel": Command("harness.cli.cancel:cancel", "Cancel a submitted campaign, by its task or its run."),
    "runs": Command("harness.cli.runs:runs", "List runs with their verdicts and figures, newest first."),
    "show": Command("harness.cli.show:show", "Show every rung, finding and step of a run's hosts."),
    "report": Command("harness.cli.report:report", "Print the report of a run that has ended."),
    "judge": Command("harness.cli.judge:judge", "Judge an ended run again by its stored evidence."),
    "samples": Command("harness.cli.samples:samples", "Write the samples of a host as a table."),
    "diff": Command("harness.cli.diff:diff", "Compare a run with earlier ones: what got worse."),
    "baseline": Group("The runs that `diff` compares later ones with.", _BASELINE),
    "keep": Command("harness.cli.keep:keep", "Keep a host that still runs."),
    "release": Command("harness.cli.keep:release", "Remove hosts that were kept, and verify it."),
    "ssh": Command("harness.cli.keep:enter", "Run a command on a kept host, or open a shell there.", TAKES_A_COMMAND),
    "sweep": Command("harness.cli.sweep:sweep", "List what dead or ended runs left; --yes removes it."),
    "serve": Command("harness.cli.serve:serve", "Serve campaigns over HTTP for a team."),
    "work": Command("harness.cli.work:work", "Carry out submitted campaigns, here, until it is stopped."),
    "token": Group("The access tokens of a service.", _TOKEN),
    "schedule": Group("Campaigns that a service submits at set times.", _SCHEDULE),
    "site": Group("The sites to which a hub gives campaigns.", _SITE),
    "cluster": Group("Campaigns on Kubernetes, whose pods share the hosts of a run.", _CLUSTER),
    "watch": Group("Clocks that are watched all the time, by workers.", _WATCH),
    "image": Group("Machine images of your own to start campaigns from (EC2).", _IMAGE),
    "ledger": Group("The database of runs, hosts and steps.", _LEDGER),
    "profiles": Command("harness.cli.profiles:profiles", "List the limits of standards, regulations and vendors."),
    "evidence": Group("The evidence store: what waits to be sent, and reading it back.", _EVIDENCE),
    "campaign": Group("Campaign files: their keys and schema, and whether one is valid.", _CAMPAIGN),
    "lab": Group("Local virtual machines whose clocks' truth is known.", _LAB),
}


class LazyCommand(TyperCommand):
    """Stands for a command in its group; the command itself is imported when a command line calls it."""

    def __init__(self, name: str, entry: Command) -> None:
        super().__init__(name, help=entry.summary, rich_markup_mode=None, hidden=entry.hidden)
        self._entry = entry

    def load(self, server: NamedServer | None = None) -> HelpCommand:
        """Import the command's function and make the command from it; `server`: the service that carries it out."""
        module, _, name = self._entry.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        if server is not None:
            function = make_remote_call(function, self._entry.function, str(self.name), server)
        parser = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        settings = dict(self._entry.settings)
        parser.command(self.name, cls=HelpCommand, context_settings=settings)(function)
        command = typer.main.get_command(parser)
        if not isinstance(command, HelpCommand):
            raise TypeError(f"the command {self.name} explains itself by no docstring")
        return command

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse the command line by the loaded command, which then replaces this object."""
        return self.load(find_server(settings.get("parent"))).make_context(*args, **settings)


class RootGroup(TyperGroup):
    """The program: options before every command, and the commands of the table."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _commands(COMMANDS)})

    def get_params(self, ctx: Any) -> Any:
        """Return the options; Typer's --install-completion is changed to name the files that it edits."""
        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, TyperOption) and param.name == "install_completion":
                param.help = INSTALL_HELP
                if param.callback and not isinstance(param.callback, InstallCompletion):
                    param.callback = InstallCompletion(param.callback)
        return params


def _commands(entries: Mapping[str, Command | Group]) -> dict[str, Any]:
    return {name: _command(name, entry) for name, entry in entries.items()}


def _command(name: str, entry: Command | Group) -> TyperCommand | TyperGroup:
    if isinstance(entry, Command):
        return LazyCommand(name, entry)
    commands = _commands(entry.entries)
    return TyperGroup(name=name, commands=commands, help=entry.summary, no_args_is_help=True, rich_markup_mode=None)
