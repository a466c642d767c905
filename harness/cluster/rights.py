"""Name each right that commands of `cluster` and their pods use, and ask the API server which of them are there.

Each table stands for a role of deploy/cluster, and a test holds one against the other: nothing is missing there, and
nothing is granted that no command uses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview

from harness.benches.bench import Check
from harness.cluster.connection import Connection, telling_errors
from harness.errors import HarnessError, RequestError

_BATCH, _RBAC, _POLICY, _NETWORK = "batch", "rbac.authorization.k8s.io", "policy", "networking.k8s.io"


@dataclass(frozen=True, slots=True)
class Right:
    """A right. `used_by`: the commands or steps that need it; `name`: of the one object that it is limited to."""

    verb: str
    group: str
    resource: str
    used_by: str
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {what}"


SUBMITTER = (
    Right("create", _BATCH, "jobs", "run, test, smoke"),
    Right("get", _BATCH, "jobs", "run, test, status, logs, cancel, clean, results"),
    Right("list", _BATCH, "jobs", "status, clean"),
    Right("patch", _BATCH, "jobs", "cancel, smoke"),
    Right("delete", _BATCH, "jobs", "clean, smoke"),
    Right("get", "", "pods", "run, test, logs"),
    Right("list", "", "pods", "run, test, status, logs, smoke"),
    Right("get", "", "pods", "run, test, logs, smoke", subresource="log"),
    Right("list", "", "events", "run, test, logs, smoke"),
    Right("list", "", "resourcequotas", "smoke"),
    Right("create", _BATCH, "cronjobs", "schedule"),
    Right("list", _BATCH, "cronjobs", "schedule, status"),
    Right("delete", _BATCH, "cronjobs", "schedule --remove"),
)
"""What whoever submits runs may do in the namespace: the Role ptp-harness-submitter of deploy/cluster/base."""

COORDINATOR = (
    Right("create", _BATCH, "jobs", "a Job for each suite, the runs of a schedule"),
    Right("get", _BATCH, "jobs", "the end of a suite, a run that is cancelled"),
    Right("list", _BATCH, "jobs", "whether the run of an earlier time of a schedule goes on"),
    Right("delete", _BATCH, "jobs", "suites of a run that is cancelled"),
    Right("list", "", "pods", "what keeps pods from their work"),
    Right("create", _POLICY, "poddisruptionbudgets", "keeps one coordinator while nodes are drained"),
)
"""What coordinators may do in the namespace: the Role ptp-harness-coordinator of deploy/cluster/base."""

DESTRUCTIVE = (
    Right("create", "", "namespaces", "the namespace of a run's own"),
    Right("get", "", "namespaces", "whether it is there"),
    Right("delete", "", "namespaces", "its removal"),
    Right("create", _RBAC, "rolebindings", "the coordinator's rights there"),
    Right("bind", _RBAC, "clusterroles", "the coordinator's rights there", name="ptp-harness-own-namespace"),
)
"""What coordinators may do beyond the namespace: ClusterRole ptp-harness-destructive of deploy/cluster/destructive."""

OWN_NAMESPACE = (
    Right("create", _BATCH, "jobs", "a Job for each suite"),
    Right("get", _BATCH, "jobs", "the end of a suite"),
    Right("delete", _BATCH, "jobs", "suites of a run that is cancelled"),
    Right("list", "", "pods", "what keeps pods from their work"),
    Right("create", "", "serviceaccounts", "the account of pods"),
    Right("create", "", "secrets", "copies of those that pods read"),
    Right("create", _NETWORK, "networkpolicies", "nobody connects to the pods"),
)
"""What a coordinator may do in a namespace of its run's own: ClusterRole ptp-harness-own-namespace."""

CLEAN = (
    Right("get", "", "namespaces", "clean"),
    Right("list", "", "namespaces", "clean"),
    Right("delete", "", "namespaces", "clean"),
)
"""What removes namespaces that runs left: ClusterRole ptp-harness-clean of deploy/cluster/destructive."""

SUBMITTER_REMEDY = (
    "bind the Role ptp-harness-submitter of deploy/cluster/base to yourself there; or another --namespace"
)
COORDINATOR_REMEDY = "apply deploy/cluster/base, which binds the Role ptp-harness-coordinator"
DESTRUCTIVE_REMEDY = "apply deploy/cluster/destructive, with this namespace in its namespaces.yaml: docs/cluster.md"


def check_rights(
    connection: Connection, rights: Sequence[Right], *, remedy: str, everywhere: bool = False
) -> Iterator[Check]:
    """Ask for each right whether whoever is connected has it; yield each answer. `everywhere`: in all namespaces."""
    where = "in any namespace" if everywhere else f"in namespace {connection.namespace}"
    for right in rights:
        attributes = ResourceAttributes(
            namespace=None if everywhere else connection.namespace,
            verb=right.verb,
            group=right.group,
            resource=right.resource,
            subresource=right.subresource or None,
            name=right.name or None,
        )
        review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=attributes))
        try:
            with telling_errors(connection, f"asking for the right to {right}"):
                answer = connection.client.create(review)
        except HarnessError as error:
            yield Check(name=f"right: {right}", ok=False, observed=error.message, remedy=error.next_step)
            return
        allowed = bool(answer.status and answer.status.allowed)
        observed = "allowed" if allowed else f"not allowed {where}, and needed for: {right.used_by}"
        yield Check(name=f"right: {right}", ok=allowed, observed=observed, remedy="" if allowed else remedy)


def require_own_namespaces(connection: Connection) -> None:
    """Raise RequestError where coordinators have no right to a namespace of a run's own. Raises ClusterError."""
    checks = check_rights(connection, DESTRUCTIVE, remedy=DESTRUCTIVE_REMEDY, everywhere=True)
    missing = [check.name.removeprefix("right: ") for check in checks if not check.ok]
    if missing:
        raise RequestError(
            f"coordinators of namespace {connection.namespace} may not {', '.join(missing)}: a destructive "
            "suite has no namespace of its own",
            next_step=DESTRUCTIVE_REMEDY,
        )
