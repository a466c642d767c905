"""Check which version of Kubernetes a cluster has, before anything is made in it."""

from lightkube.core.exceptions import ConfigError

from harness.benches.bench import Check
from harness.cluster.connection import Connection, read_document
from harness.errors import HarnessError, RequestError
from harness.untrusted.plain_text import one_line

LEAST_MINOR = 33
"""The first version of Kubernetes (1.33) in which each index of a Job has its own limit of failures."""

_REMEDY = f"Kubernetes 1.{LEAST_MINOR} or later"
_MOST_CHARACTERS = 60


def require_version(connection: Connection) -> str:
    """Return the version of the API server. Raises RequestError for one that is too old or none, ClusterError."""
    try:
        version = read_document(connection, "/version")
        major = int(str(version["major"]))
        minor = int("".join(filter(str.isdigit, str(version["minor"]))) or 0)
        name = one_line(str(version["gitVersion"]), _MOST_CHARACTERS)
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise RequestError(
            f"{connection.server} answers, and is no API server of Kubernetes",
            next_step="see whether the kubeconfig is right",
        ) from error
    if (major, minor) < (1, LEAST_MINOR):
        raise RequestError(f"the API server {connection.server} is too old for runs: {name}", next_step=_REMEDY)
    return name


def check_version(connection: Connection) -> Check:
    """Check whether the API server answers, and is of a version that runs need."""
    try:
        name = require_version(connection)
    except HarnessError as error:
        return Check(name="API server", ok=False, observed=error.message, remedy=error.next_step)
    return Check(name="API server", ok=True, observed=f"{name} at {connection.server}")
