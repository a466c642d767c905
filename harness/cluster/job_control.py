"""Make, read and delete the Jobs of suites: an API server that is away for a while stops none of them."""

import datetime
import logging
from collections.abc import Sequence

from lightkube import operators
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from lightkube.types import CascadeType

from harness.cluster.connection import ClusterError, Connection, FieldSelector, Selector, telling_errors
from harness.cluster.jobs import JOB_NAME_LABEL, name_of
from harness.errors import RequestError

_log = logging.getLogger(__name__)


class JobGoneError(RequestError):
    """A Job that somebody deleted while its run went on."""


class JobControl:
    """The Jobs of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, job: Job) -> None:
        """Make a Job. Raises ClusterError, of status 409 where there is one of its name."""
        with telling_errors(self._connection, f"making the Job {name_of(job)}"):
            self._connection.client.create(job)

    def read(self, name: str) -> Job:
        """Read a Job. Raises ClusterError."""
        with telling_errors(self._connection, f"reading the Job {name}"):
            return self._connection.client.get(Job, name)

    def try_to_read(self, name: str) -> Job | None:
        """Read a Job; None while the API server is away, which stops no pod. Raises JobGoneError."""
        try:
            return self.read(name)
        except ClusterError as error:
            if error.status == 404:
                raise JobGoneError(
                    f"somebody deleted the Job {name}", next_step="`ptp-harness cluster cancel RUN` ends a run"
                ) from error
            _log.warning("%s", error)
            return None

    def list_idle_pods(self, job: str) -> Sequence[Pod]:
        """List the pods of a Job that do not run: those that wait, and those that failed."""
        return self._list_pods(job, {"status.phase": operators.not_in(["Running", "Succeeded"])})

    def list_running_pods(self, job: str) -> Sequence[Pod]:
        """List the pods of a Job that run, or are on a node that is lost."""
        return self._list_pods(job, {"status.phase": "Running"})

    def has_new_pods(self, job: str, within_s: float) -> bool:
        """Whether a pod of a Job was made within so long, and has neither ended nor been told to."""
        begun = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=within_s)
        for pod in self._list_pods(job, {"status.phase": operators.not_in(["Succeeded", "Failed"])}):
            made = pod.metadata and pod.metadata.creationTimestamp
            if made and made > begun and not (pod.metadata and pod.metadata.deletionTimestamp):
                return True
        return False

    def _list_pods(self, job: str, fields: FieldSelector) -> Sequence[Pod]:
        labels: Selector = {JOB_NAME_LABEL: job}
        try:
            with telling_errors(self._connection, "listing pods"):
                client, namespace = self._connection.client, self._connection.namespace
                return [*client.list(Pod, namespace=namespace, labels=labels, fields=fields)]
        except ClusterError as error:
            _log.warning("%s", error)
            return ()

    def delete(self, name: str) -> None:
        """Delete a Job: its pods give back what they work on. One whose node is lost stays until that is back."""
        try:
            with telling_errors(self._connection, f"deleting the Job {name}"):
                self._connection.client.delete(Job, name, cascade=CascadeType.BACKGROUND)
        except ClusterError as error:
            _log.warning("%s", error)
