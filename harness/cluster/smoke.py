"""Check a cluster before a run is submitted to it: from here, and from a pod of its own."""

import json
import time
from collections.abc import Iterator

from lightkube.core.exceptions import ConfigError
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType

from harness import __version__
from harness.benches.bench import Check
from harness.cluster.connection import Connection, read_document, telling_errors
from harness.cluster.jobs import PodOptions, make_probe_job, name_of
from harness.cluster.pod_logs import follow_log
from harness.cluster.pod_states import PodTrouble, find_trouble
from harness.cluster.run_state import find_refusal, list_job_pods
from harness.errors import HarnessError
from harness.untrusted.plain_text import clip, printable

LEAST_MINOR = 33
"""The first version of Kubernetes (1.33) in which each index of a Job has its own limit of failures."""

RIGHTS = (
    ("create", "batch", "jobs", ""),
    ("get", "batch", "jobs", ""),
    ("list", "batch", "jobs", ""),
    ("patch", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("get", "", "pods", ""),
    ("list", "", "pods", ""),
    ("get", "", "pods", "log"),
    ("list", "", "events", ""),
    ("create", "batch", "cronjobs", ""),
    ("list", "batch", "cronjobs", ""),
    ("delete", "batch", "cronjobs", ""),
)
"""Verb, group, resource, subresource: what whoever submits runs may do, as the Role ptp-harness-submitter says."""

_POD_WITHIN_S = 90.0
_GIVEN_UP_AFTER_S = 15.0
_LOOK_EVERY_S = 0.5
_MOST_CHARACTERS = 400
_SUBMITTER = "bind the Role ptp-harness-submitter of deploy/cluster/base to yourself"


def check_cluster(connection: Connection, options: PodOptions) -> Iterator[Check]:
    """Check the API server, the rights, and, where these are there, what a pod sees; yield each check as it is made."""
    server = _check_server(connection)
    yield server
    if not server.ok:
        return
    rights = [*_check_rights(connection)]
    yield from rights
    if all(check.ok for check in rights):
        yield from _check_from_pod(connection, options)


def _check_server(connection: Connection) -> Check:
    try:
        version = read_document(connection, "/version")
        minor = int("".join(filter(str.isdigit, str(version["minor"]))) or 0)
        observed = printable(str(version["gitVersion"]))
    except HarnessError as error:
        return Check(name="API server", ok=False, observed=error.message, remedy=error.next_step)
    except (ValueError, KeyError, TypeError, ConfigError):
        observed = f"{connection.server} answers, and is no API server of Kubernetes"
        return Check(name="API server", ok=False, observed=observed, remedy="see whether the kubeconfig is right")
    ok = (int(str(version["major"])), minor) >= (1, LEAST_MINOR)
    return Check(
        name="API server",
        ok=ok,
        observed=f"{observed} at {connection.server}",
        remedy="" if ok else f"Kubernetes 1.{LEAST_MINOR} or later",
    )


def _check_rights(connection: Connection) -> Iterator[Check]:
    for verb, group, resource, subresource in RIGHTS:
        name = f"{verb} {resource}{'/' if subresource else ''}{subresource}"
        attributes = ResourceAttributes(
            namespace=connection.namespace, verb=verb, group=group, resource=resource, subresource=subresource or None
        )
        review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=attributes))
        try:
            with telling_errors(connection, f"asking for the right to {name}"):
                answer = connection.client.create(review)
        except HarnessError as error:
            yield Check(name=f"right: {name}", ok=False, observed=error.message, remedy=error.next_step)
            return
        status = answer.status
        allowed = bool(status and status.allowed)
        observed = "allowed" if allowed else f"not allowed in namespace {connection.namespace}"
        yield Check(name=f"right: {name}", ok=allowed, observed=observed, remedy="" if allowed else _SUBMITTER)


def _check_from_pod(connection: Connection, options: PodOptions) -> Iterator[Check]:
    job = make_probe_job(options)
    name = name_of(job)
    try:
        with telling_errors(connection, "making a pod that looks from inside"):
            connection.client.create(job)
        try:
            yield from _wait_for_probe(connection, name, options)
        finally:
            with telling_errors(connection, f"deleting the Job {name}"):
                connection.client.delete(Job, name, cascade=CascadeType.BACKGROUND)
    except HarnessError as error:
        yield Check(name="pod", ok=False, observed=error.message, remedy=error.next_step)


def _wait_for_probe(connection: Connection, job: str, options: PodOptions) -> Iterator[Check]:
    """Wait until the pod has printed what it saw; say why it did not."""
    give_up_at, since = time.monotonic() + _POD_WITHIN_S, None
    seen = PodTrouble("the pod did not start", lasting=False, remedy="`kubectl describe pod` says more")
    while time.monotonic() < give_up_at and (since is None or time.monotonic() - since <= _GIVEN_UP_AFTER_S):
        pods = list_job_pods(connection, job)
        phases = [pod.status.phase for pod in pods if pod.status]
        if phases and phases[-1] in ("Succeeded", "Failed"):
            lines = [*follow_log(connection, name_of(pods[-1]), follow=False)]
            node = (pods[-1].spec and pods[-1].spec.nodeName) or "?"
            yield Check(name="image", ok=True, observed=f"{options.image} runs on node {node}")
            yield from _read_checks(lines)
            return
        trouble = find_trouble(pods) if pods else find_refusal(connection, job)
        seen = trouble or seen
        since = (since or time.monotonic()) if trouble is not None and trouble.lasting else None
        time.sleep(_LOOK_EVERY_S)
    yield Check(name="pod", ok=False, observed=seen.text, remedy=seen.remedy)


def _read_checks(lines: list[str]) -> Iterator[Check]:
    """Read what the pod printed: one document of JSON."""
    try:
        seen = [Check(**each) for each in json.loads("\n".join(lines))]
    except (ValueError, TypeError):
        last = clip(printable(" ".join(lines[-2:])), _MOST_CHARACTERS)
        yield Check(name="pod", ok=False, observed=f"it ended with: {last}", remedy="see whether the image is ours")
        return
    for check in seen:
        if check.name == "version" and check.observed != __version__:
            yield Check(
                name="version",
                ok=False,
                observed=f"the image has {printable(check.observed)[:40]}, this command is {__version__}",
                remedy="the image of this version: --image, --registry",
            )
        else:
            yield Check(
                name=f"in a pod: {printable(check.name)[:40]}",
                ok=bool(check.ok),
                observed=clip(printable(str(check.observed)), _MOST_CHARACTERS),
                remedy=clip(printable(str(check.remedy)), _MOST_CHARACTERS),
            )
