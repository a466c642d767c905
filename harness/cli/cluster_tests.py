"""`cluster test`: this project's own tests as suites in pods; `coordinate-tests` and `test-pod`: what these pods do."""

import json
import os
import threading
from collections import Counter
from dataclasses import replace
from typing import Annotated

import typer

from harness import __version__
from harness.cli import cluster_options, output
from harness.cli.cluster_pods import RunName, ending_at_once, leave_message, trying_again
from harness.cluster.jobs import TRY_AGAIN, read_options
from harness.cluster.line_count import counting_lines
from harness.cluster.tier_store import TierStore
from harness.errors import RequestError
from harness.store.object_store import open_store
from harness.system import settings
from harness.system.signals import handling_stop_signals

Tiers = Annotated[
    list[str] | None,
    typer.Argument(metavar="TIER", help="Folders of tests, such as unit or unit/cli; all without."),
]
TestImage = Annotated[
    str | None,
    typer.Option(
        "--image", metavar="IMAGE", envvar="PTP_HARNESS_TEST_IMAGE", help="The image of the tests, with its tag."
    ),
]
_TEST_REQUESTS, _TEST_LIMITS = {"cpu": "500m", "memory": "512Mi"}, {"memory": "3Gi"}


def run_tests(
    tiers: Tiers = None,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=1000, metavar="N", help="Suites at once.")] = 4,
    include_slow: Annotated[
        bool, typer.Option("--include-slow", help="Also tests that take minutes each (marks truth, real_driver).")
    ] = False,
    include_destructive: cluster_options.IncludeDestructive = False,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
    image: TestImage = None,
    registry: cluster_options.Registry = None,
    pull: cluster_options.Pull = "IfNotPresent",
    detach: Annotated[bool, typer.Option("--detach", help="Submit it, print its name, and end.")] = False,
) -> None:
    """Run this project's own tests on a cluster.

    A coordinator makes a Job for each suite of tests: those that may run beside others first, then the exclusive ones
    in turn, then those that do harm, if they are asked for. Results go to the evidence store of the namespace's secret
    `ptp-harness`, so that it needs no ledger. The exit code is 1 where a test failed, 3 where a suite has no result.
    Ctrl-C ends this command alone.

    Examples:
        ptp-harness cluster test --registry registry.example
        ptp-harness cluster test unit hostile --parallel 8
        ptp-harness cluster test --include-slow --detach
        ptp-harness cluster test --include-destructive
    """
    from harness.cli.cluster import follow_run
    from harness.cluster.api_version import require_version
    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import make_tests_coordinator, write_options
    from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, draw_name

    named = image or (f"{registry.rstrip('/')}/ptp-harness-tests:{__version__}" if registry else None)
    if named is None:
        raise RequestError(
            "no image of the tests is named for the pods",
            next_step="--image REGISTRY/ptp-harness-tests:VERSION, or --registry REGISTRY; "
            "`make image TARGET=tests` builds one",
        )
    options = cluster_options.make_pod_options(named, None, pull)
    options = replace(options, requests=_TEST_REQUESTS, limits=_TEST_LIMITS, include_destructive=include_destructive)
    connection = cluster_options.open_connection(context, namespace)
    require_version(connection)
    name = draw_name(SUBMITTED_RUN_CHARACTERS)
    argv = ["cluster", "coordinate-tests", name, *(tiers or ()), "--parallel", str(parallel)]
    argv += ["--include-slow"] if include_slow else []
    argv += write_options(options)
    with telling_errors(connection, f"submitting run {name}"):
        connection.client.create(make_tests_coordinator(name, argv, options))
    follow_run(connection, name, detach=detach)


def coordinate_tests(
    run: RunName,
    tiers: Tiers = None,
    parallel: Annotated[int, typer.Option("--parallel", min=1, metavar="N")] = 4,
    include_slow: Annotated[bool, typer.Option("--include-slow")] = False,
    options: Annotated[str, typer.Option("--options", metavar="JSON", help="What all pods have in common.")] = "{}",
) -> None:
    """Lead a run of tests, in a pod of a cluster.

    `cluster test` makes that pod. Ends with 0 whatever the tests bring: a pod that fails tells of a fault of the
    cluster. The table of suites is printed; the pod's termination message has the exit code of the run.

    Examples:
        ptp-harness cluster coordinate-tests k3f9mq unit --options '{"image": "..."}'
    """
    from harness.cluster.connection import connect
    from harness.cluster.tier_coordinator import TierCoordinator, TierRequest
    from harness.cluster.tier_report import DOCUMENT, SUMMARY

    with counting_lines(), trying_again(), ending_at_once(f"the other coordinator goes on with run {run}"):
        store = _open_tier_store(run)
        common = read_options(options)
        request = TierRequest(
            tiers=tuple(tiers or ()),
            parallel=parallel,
            include_slow=include_slow,
            include_destructive=common.include_destructive,
        )
        pod = os.environ.get("HOSTNAME", "")
        led_here = TierCoordinator(request, connect(), common, store, output.say, pod=pod).lead()
        summary, document = store.read_report(SUMMARY), json.loads(store.read_report(DOCUMENT) or "{}")
    if led_here:
        output.show(str(summary))
        output.say(f"the reports are in {store.store.label}/{store.reports.prefix}")
    verdicts = Counter(str(suite["outcome"]) for suite in document["suites"])
    leave_message({"run": run, "exit_code": document["exit_code"], "verdicts": verdicts, "reports": store.folder})


def run_suite(
    run: RunName, suite: Annotated[str, typer.Argument(metavar="SUITE", help="The suite of tests to run.")]
) -> None:
    """Run a suite of tests, in a pod of a cluster.

    The coordinator makes that pod. Ends with 0 where pytest ended by itself, whatever it found, with 75 where something
    else ended it.

    Examples:
        ptp-harness cluster test-pod k3f9mq unit-cli
    """
    from harness.cluster.tier_pod import run_pytest

    stop = threading.Event()
    with counting_lines(), trying_again(), handling_stop_signals(lambda _number, _frame: stop.set()):
        store = _open_tier_store(run)
        plan = store.read_plan()
        found = next((each for each in plan.suites if each.name == suite), None) if plan else None
        if plan is None or found is None:
            raise RequestError(f"run {run} has no suite {suite} of tests", next_step="its coordinator makes the plan")
        if store.read_result(suite) is not None:
            output.say(f"suite {suite} has its result already")
            return
        attempt = store.begin_attempt(suite, os.environ.get("HOSTNAME", "?"))
        output.say(f"suite {suite}, attempt {attempt}: {len(found.files)} files")
        end = run_pytest(found.files, plan.marks, output.show, stop.is_set)
        if stop.is_set() or end.status < 0:
            why = "this pod was asked to end" if stop.is_set() else f"signal {-end.status} ended pytest"
            output.say(f"{why}: the suite is begun anew")
            leave_message({"problem": why})
            raise typer.Exit(TRY_AGAIN)
        if end.result is None:
            leave_message({"problem": f"pytest ended with status {end.status}, and left no JUnit"})
            output.say(f"pytest ended with status {end.status}, and left no JUnit")
        elif not store.write_result(suite, end.result):
            output.say("another pod has left the result of this suite")


def _open_tier_store(run: str) -> TierStore:
    """Open the evidence store for a run of tests. Raises RequestError where none is named."""
    configuration = settings.load()
    if configuration.evidence is None:
        raise RequestError(
            "no evidence store is named, which keeps the results of tests",
            next_step="the key evidence-url of the secret ptp-harness, such as s3://BUCKET/PREFIX",
        )
    return TierStore(run, open_store(configuration.evidence), threading.Event().wait)
