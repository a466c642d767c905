"""Check a cluster before a run is submitted to it: from here, then from pods of its own, which are removed."""

import time
from collections.abc import Iterator

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from lightkube.types import CascadeType

from harness import __version__
from harness.benches.bench import Check
from harness.cluster.api_version import check_version
from harness.cluster.connection import Connection, telling_errors
from harness.cluster.jobs import PodOptions, make_suite_job, make_tests_coordinator, name_of
from harness.cluster.node_clocks import check_nodes
from harness.cluster.pod_logs import follow_log
from harness.cluster.pod_states import PodTrouble, find_trouble
from harness.cluster.probe_document import read_probe
from harness.cluster.probe_jobs import ProbeKind, make_probe_job
from harness.cluster.quotas import check_quotas
from harness.cluster.rights import SUBMITTER, SUBMITTER_REMEDY, check_rights
from harness.cluster.run_state import find_refusal, list_job_pods
from harness.errors import HarnessError
from harness.store.names_at_random import draw_name
from harness.untrusted.plain_text import one_line

_POD_WITHIN_S = 90.0
_GIVEN_UP_AFTER_S = 15.0
_LOOK_EVERY_S = 0.5
_MOST_CHARACTERS = 400


def check_cluster(connection: Connection, options: PodOptions, *, most_nodes: int | None = None) -> Iterator[Check]:
    """Check the API server, rights, namespace and quota, then what pods see; yield each check as it is made.

    A step in which something is missing is the last one: the next one could not succeed. `most_nodes`: of how many
    nodes the clocks are looked at; None for all. What this makes in the cluster is removed at the end.
    """
    for step in (
        iter([check_version(connection)]),
        check_rights(connection, SUBMITTER, remedy=SUBMITTER_REMEDY),
        _check_namespace(connection, options),
        _check_from_pods(connection, options),
        _check_clocks(connection, options, most_nodes),
    ):
        missing = False
        for check in step:
            missing |= not check.ok
            yield check
        if missing:
            return


def _check_namespace(connection: Connection, options: PodOptions) -> Iterator[Check]:
    """Have the API server judge the Jobs of a run, by which nothing is made, and see whether quotas leave room."""
    run = draw_name()
    leads = make_tests_coordinator(run, ["cluster", "probe"], options)
    works = make_suite_job(run, "shared", 0, options, pods=1, hosts_per_pod=1, owner=None)
    try:
        for job in (leads, works):
            with telling_errors(connection, f"making a Job in namespace {connection.namespace}"):
                connection.client.create(job, dry_run=True)
    except HarnessError as error:
        remedy = error.next_step or "as the API server says"
        yield Check(name="namespace", ok=False, observed=error.message, remedy=remedy)
        return
    yield Check(name="namespace", ok=True, observed=f"{connection.namespace} takes the Jobs of a run")
    yield check_quotas(connection, [leads, works])


def _check_from_pods(connection: Connection, options: PodOptions) -> Iterator[Check]:
    """Have a pod like those of suites and one like a coordinator look at what they need."""
    kinds = (ProbeKind.SUITE, ProbeKind.COORDINATOR)
    jobs = {kind: make_probe_job(kind, _draw_job_name(kind), options) for kind in kinds}
    made: list[Job] = []
    try:
        try:
            for job in jobs.values():
                _make(connection, job)
                made.append(job)
            for kind, job in jobs.items():
                yield from _wait_for_probe(connection, name_of(job), kind, options)
        finally:
            for job in made:
                _remove(connection, name_of(job))
    except HarnessError as error:
        yield Check(name="pod", ok=False, observed=error.message, remedy=error.next_step)


def _check_clocks(connection: Connection, options: PodOptions, most: int | None) -> Iterator[Check]:
    job = make_probe_job(ProbeKind.CLOCK, _draw_job_name(ProbeKind.CLOCK), options)
    try:
        _make(connection, job)
        try:
            yield from check_nodes(connection, name_of(job), most=most)
        finally:
            _remove(connection, name_of(job))
    except HarnessError as error:
        yield Check(name="clocks of the nodes", ok=False, observed=error.message, remedy=error.next_step)


def _draw_job_name(kind: ProbeKind) -> str:
    return f"ptp-smoke-{draw_name()}-{kind}"


def _make(connection: Connection, job: Job) -> None:
    with telling_errors(connection, "making a pod that looks from inside"):
        connection.client.create(job)


def _remove(connection: Connection, job: str) -> None:
    with telling_errors(connection, f"deleting the Job {job}"):
        connection.client.delete(Job, job, cascade=CascadeType.BACKGROUND)


def _wait_for_probe(connection: Connection, job: str, kind: ProbeKind, options: PodOptions) -> Iterator[Check]:
    """Wait until the pod has printed what it saw; say why it did not."""
    give_up_at, since = time.monotonic() + _POD_WITHIN_S, None
    seen = PodTrouble("the pod did not start", lasting=False, remedy="`kubectl describe pod` says more")
    pods: list[Pod] = []
    while time.monotonic() < give_up_at and (since is None or time.monotonic() - since <= _GIVEN_UP_AFTER_S):
        pods = list_job_pods(connection, job)
        phases = [pod.status.phase for pod in pods if pod.status]
        if phases and phases[-1] in ("Succeeded", "Failed"):
            lines = [*follow_log(connection, name_of(pods[-1]), follow=False)]
            node = (pods[-1].spec and pods[-1].spec.nodeName) or "?"
            if kind is ProbeKind.SUITE:
                yield Check(name="image", ok=True, observed=f"{options.image} runs on node {node}")
            yield from _read_checks(lines, kind)
            return
        trouble = find_trouble(pods) if pods else find_refusal(connection, job)
        seen = trouble or seen
        since = (since or time.monotonic()) if trouble is not None and trouble.lasting else None
        time.sleep(_LOOK_EVERY_S)
    if since is None and pods:  # such as a volume that cannot be mounted: its events alone tell
        seen = find_refusal(connection, name_of(pods[-1])) or seen
    name = "pod" if kind is ProbeKind.SUITE else f"pod of a {kind}"
    yield Check(name=name, ok=False, observed=seen.text, remedy=seen.remedy)


def _read_checks(lines: list[str], kind: ProbeKind) -> Iterator[Check]:
    """Read what the pod printed: one document of JSON."""
    checks = read_probe(lines)
    if checks is None:
        last = one_line(" ".join(lines[-2:]), _MOST_CHARACTERS)
        remedy = "an image of this version: `ptp-harness cluster image` builds one"
        yield Check(name="pod", ok=False, observed=f"it ended with: {last}", remedy=remedy)
        return
    place = "in a pod" if kind is ProbeKind.SUITE else "in a coordinator"
    for check in checks:
        if check.name == "version" and check.observed != __version__:
            yield Check(
                name="version",
                ok=False,
                observed=f"the image has {check.observed}, this command is {__version__}",
                remedy="the image of this version: --image, --registry",
            )
        else:
            yield Check(name=f"{place}: {check.name}", ok=check.ok, observed=check.observed, remedy=check.remedy)
