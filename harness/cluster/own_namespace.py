"""Make, equip and remove a namespace for one run, in which suites may do harm.

Its name follows from that of the run: a coordinator that goes on with the run finds the namespace that the one before
made. The rights for this are an opt-in: deploy/cluster/destructive.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lightkube.codecs import AnyResource, from_dict
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace

from harness.campaign.campaign import Campaign
from harness.cluster.connection import ClusterError, Connection, in_namespace, patiently, telling_errors
from harness.cluster.jobs import (
    COORDINATOR_ACCOUNT,
    ENVIRONMENT_FOLDER,
    ENVIRONMENT_SECRET,
    OURS,
    PART_LABEL,
    POD_ACCOUNT,
    PREFIX,
    RUN_LABEL,
    SECRET,
    SECRET_FOLDER,
    PodOptions,
    name_of,
)
from harness.cluster.suites import does_harm
from harness.errors import CleanupError, ConflictError, RequestError

OWN_NAMESPACE, HOME_LABEL = "own-namespace", f"{PREFIX}/home"
OWN_ROLE = "ptp-harness-own-namespace"
_log = logging.getLogger(__name__)
_GONE_WITHIN_S, _LOOK_EVERY_S = 300.0, 1.0

Secrets = Mapping[str, Mapping[str, str]]
"""The keys and values of secrets, by the name of each."""


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """A namespace that was made for a run of the namespace `home`. `ending`: it is being removed."""

    name: str
    run: str
    home: str
    ending: bool


@contextmanager
def own_namespace(connection: Connection, run: str, secrets: Secrets) -> Iterator[Connection]:
    """Yield a connection to a namespace of this run's own, which is there and equipped; remove it at the end.

    Pods there have the account POD_ACCOUNT without a token, no way in from elsewhere, Pod Security `restricted`, and
    the secrets that are passed: no reference reaches a secret of another namespace. Raises ClusterError without the
    rights of deploy/cluster/destructive, ConflictError where the name is somebody else's, CleanupError where it stays.
    """
    patiently(lambda: _make(connection, run))
    try:
        inside = in_namespace(connection, name_namespace(run))
        _equip(inside, connection.namespace, secrets)
        yield inside
    finally:
        remove_namespace(connection, run)


def name_namespace(run: str) -> str:
    """Name the namespace of a run's own."""
    return f"ptp-{run}-destructive"


def remove_namespace(connection: Connection, run: str) -> None:
    """Remove the namespace of a run with all that is in it, and wait until it is gone; one of others stays.

    Raises CleanupError where it is there after five minutes.
    """
    name, give_up_at, asked = name_namespace(run), time.monotonic() + _GONE_WITHIN_S, False
    while (state := patiently(lambda: _find(connection, name))) is not None and state.home == connection.namespace:
        if not (asked or state.ending):
            patiently(lambda: _delete(connection, name))
            asked = True
        if time.monotonic() > give_up_at:
            raise _describe_left(name)
        time.sleep(_LOOK_EVERY_S)


def list_own_namespaces(connection: Connection) -> list[NamespaceState]:
    """List the namespaces that runs of this namespace made and that are still there."""
    labels = OURS | {PART_LABEL: OWN_NAMESPACE, HOME_LABEL: connection.namespace}
    with telling_errors(connection, "listing namespaces of runs"):
        return [_make_state(item) for item in connection.client.list(Namespace, labels={**labels})]


def remove_left(connection: Connection, runs: Collection[str] | None, going_on: Collection[str]) -> Iterator[str]:
    """Remove the namespaces that runs made and left, and yield the name of each. None without the right to list them.

    `runs`: those whose namespaces go, all if None; `going_on`: those that still need theirs.
    """
    try:
        left = list_own_namespaces(connection)
    except ClusterError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        _log.info("namespaces of runs are not looked for: %s", error)
        return
    for state in left:
        if state.run not in going_on and (not runs or state.run in runs):
            remove_namespace(connection, state.run)
            yield state.name


def read_own_secrets(
    folder: Path = Path(SECRET_FOLDER), environment: Path = Path(ENVIRONMENT_FOLDER)
) -> dict[str, dict[str, str]]:
    """Read the secrets that are mounted in this pod, for copies of them: no right to read secrets is needed."""
    return {
        name: {path.name: path.read_text() for path in sorted(_list_keys(place))}
        for name, place in ((SECRET, folder), (ENVIRONMENT_SECRET, environment))
        if place.is_dir()
    }


def _list_keys(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def require_movable(campaign: Campaign, options: PodOptions) -> None:
    """Raise RequestError where hosts that do harm need what a namespace of their own cannot have."""
    if not (options.include_destructive and does_harm(campaign)):
        return
    for what, name in (("claim", options.lab_cache), ("queue", options.queue)):
        if name is not None:
            raise RequestError(
                f"the {what} {name} is one of this namespace, and disturbed hosts are to have a namespace of their own",
                next_step="leave out --include-destructive, or claim and queue: an image can have the lab's parts",
            )


def _make(connection: Connection, run: str) -> None:
    """Make the namespace, unless an earlier coordinator of the run did; wait for one that is being removed."""
    name, give_up_at = name_namespace(run), time.monotonic() + _GONE_WITHIN_S
    while True:
        try:
            with telling_errors(connection, f"making the namespace {name}"):
                connection.client.create(_describe_namespace(connection.namespace, run))
            return
        except ClusterError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        state = _find(connection, name)
        if state is None:
            continue
        if (state.home, state.run) != (connection.namespace, run):
            raise ConflictError(
                f"there is a namespace {name}, and it is not of run {run} of namespace {connection.namespace}",
                next_step="remove it, if nobody needs it",
            )
        if not state.ending:
            return
        if time.monotonic() > give_up_at:
            raise _describe_left(name)
        time.sleep(_LOOK_EVERY_S)


def _describe_left(name: str) -> CleanupError:
    return CleanupError([f"namespace {name}"], next_step=f"`kubectl describe namespace {name}` tells what holds it")


def _equip(inside: Connection, home: str, secrets: Secrets) -> None:
    """Make what pods need there; what an earlier coordinator made stays as it is."""
    for item in (_describe_binding(home), *_describe_objects(secrets)):
        patiently(partial(_create, inside, item))  # the right that the binding gives takes a moment


def _create(inside: Connection, item: AnyResource) -> None:
    try:
        with telling_errors(inside, f"equipping the namespace {inside.namespace}"):
            inside.client.create(item)
    except ClusterError as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


def _describe_namespace(home: str, run: str) -> Namespace:
    labels = OURS | {PART_LABEL: OWN_NAMESPACE, HOME_LABEL: home, RUN_LABEL: run}
    labels["pod-security.kubernetes.io/enforce"] = "restricted"
    return Namespace(metadata=ObjectMeta(name=name_namespace(run), labels=labels))


def _describe_binding(home: str) -> AnyResource:
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": COORDINATOR_ACCOUNT, "namespace": home}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": OWN_ROLE}
    return _describe(f"{group}/v1", "RoleBinding", OWN_ROLE, roleRef=role, subjects=[subject])


def _describe_objects(secrets: Secrets) -> Iterator[AnyResource]:
    yield _describe("v1", "ServiceAccount", POD_ACCOUNT, automountServiceAccountToken=False)
    nobody = {"podSelector": {}, "policyTypes": ["Ingress"]}
    yield _describe("networking.k8s.io/v1", "NetworkPolicy", "ptp-harness", spec=nobody)
    for name, values in secrets.items():
        yield _describe("v1", "Secret", name, stringData=dict(values))


def _describe(version: str, kind: str, name: str, **more: Any) -> AnyResource:
    return from_dict({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": OURS}, **more})


def _find(connection: Connection, name: str) -> NamespaceState | None:
    try:
        with telling_errors(connection, f"reading the namespace {name}"):
            return _make_state(connection.client.get(Namespace, name))
    except ClusterError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _delete(connection: Connection, name: str) -> None:
    try:
        with telling_errors(connection, f"removing the namespace {name}"):
            connection.client.delete(Namespace, name)
    except ClusterError as error:
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise


def _make_state(item: Namespace) -> NamespaceState:
    metadata = item.metadata
    labels = (metadata and metadata.labels) or {}
    ours = labels if OURS.items() <= labels.items() and labels.get(PART_LABEL) == OWN_NAMESPACE else {}
    return NamespaceState(
        name=name_of(item),
        run=ours.get(RUN_LABEL, ""),
        home=ours.get(HOME_LABEL, ""),
        ending=bool(metadata and metadata.deletionTimestamp),
    )
