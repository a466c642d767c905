"""`cluster smoke`: what a cluster lacks for runs."""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from harness.cli import cluster_options, output
from harness.errors import ExitCode


def smoke(
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
    image: cluster_options.Image = None,
    registry: cluster_options.Registry = None,
    pull: cluster_options.Pull = "IfNotPresent",
    lab_cache: cluster_options.LabCache = None,
    include_destructive: cluster_options.IncludeDestructive = False,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, metavar="N", help="Look at the clocks of N nodes (default: of all).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Say what a cluster lacks for runs, and how to get it.

    Asks the API server for its version, for each right that is used, whether the namespace takes the Jobs of a run, and
    what its quotas leave. Then starts pods, which look for the secret, the ledger, the evidence store, the rights of
    coordinators, the clock of each node that can take pods and, with --lab-cache, the lab's parts. They are removed.
    Exit code 2 if something is missing.

    Examples:
        ptp-harness cluster smoke --registry registry.example
        ptp-harness cluster smoke --context staging -n ptp
        ptp-harness cluster smoke --lab-cache ptp-lab
        ptp-harness cluster smoke --include-destructive --nodes 20
    """
    from harness.cluster.smoke import check_cluster

    options = cluster_options.make_pod_options(image, registry, pull, lab_cache=lab_cache)
    options = replace(options, include_destructive=include_destructive)
    connection = cluster_options.open_connection(context, namespace)
    checks = []
    for check in check_cluster(connection, options, most_nodes=nodes):
        checks.append(check)
        if not json:
            output.show(f"{'ok     ' if check.ok else 'MISSING'}  {check.name:<40} {check.observed}")
            if not check.ok:
                output.show(f"         {'':<40} next: {check.remedy}")
    if json:
        output.emit([asdict(check) for check in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.BAD_REQUEST)
