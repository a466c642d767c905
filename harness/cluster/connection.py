"""Connect to the API server of a cluster, by a kubeconfig or by the service account of a pod."""

import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
import lightkube
import yaml
from lightkube import operators
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.generic_client import GenericSyncClient

from harness.errors import ExitCode, HarnessError, RequestError, SetupError
from harness.untrusted.plain_text import one_line

Selector = dict[str, str | operators.Operator[Any] | Iterable[Any] | None]
FieldSelector = dict[str, str | operators.BinaryOperator | operators.SequenceOperator]
IN_POD = "the pod's service account"
_TIMEOUT = httpx2.Timeout(20.0, connect=10.0)
_MOST_CHARACTERS, _MOST_LINE_BYTES = 300, 256 * 1024
_REFUSED_FOR_S, _AGAIN_AFTER_S = 10.0, 1.0
Result = TypeVar("Result")


class ClusterError(HarnessError):
    """A request that the API server refused, or that did not reach it. `status`: of HTTP; None without an answer."""

    exit_code = ExitCode.BAD_REQUEST

    def __init__(self, message: str, *, next_step: str = "", status: int | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= 500


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to a cluster. `context`: the name in the kubeconfig, or IN_POD; `server`: the API server's URL."""

    client: lightkube.Client
    config: SingleConfig
    context: str
    namespace: str
    server: str

    def __str__(self) -> str:
        return f"context {self.context}, namespace {self.namespace}, {self.server}"


def connect(context: str | None = None, namespace: str | None = None) -> Connection:
    """Choose a cluster, without a request yet.

    `context`: of the kubeconfig (KUBECONFIG, else ~/.kube/config), by default its current one; in a pod, by default the
    pod's service account. `namespace`: by default that of the context. Raises RequestError where there is none.
    """
    config = _choose(context)
    chosen = namespace or config.namespace
    if config.user is None:
        raise RequestError(
            f"the context {config.context_name} names no user", next_step="`kubectl config view` shows the contexts"
        )
    try:
        client = _make_client(config, chosen)
    except (OSError, ssl.SSLError, ValueError, ConfigError) as error:
        raise RequestError(
            f"the context {config.context_name} cannot be used: {_shorten(error)}",
            next_step="`kubectl --context NAME get pods` tries it",
        ) from error
    name = IN_POD if config.fname is None else config.context_name
    return Connection(client=client, config=config, context=name, namespace=chosen, server=str(config.cluster.server))


def in_namespace(connection: Connection, namespace: str) -> Connection:
    """Return a connection as the same user to another namespace."""
    return replace(connection, client=_make_client(connection.config, namespace), namespace=namespace)


def _make_client(config: SingleConfig, namespace: str) -> lightkube.Client:
    return lightkube.Client(config=config, namespace=namespace, timeout=_TIMEOUT, field_manager="ptp-harness")


@contextmanager
def telling_errors(connection: Connection, what: str) -> Iterator[None]:
    """Turn what lightkube raises into ClusterError or SetupError, in a sentence about `what` was tried."""
    try:
        yield
    except ApiError as error:
        raise _describe(connection, what, error) from error
    except ConfigError as error:  # a program that makes the credentials failed
        raise SetupError(f"{what}: {_shorten(error)}", next_step="renew the credentials of this context") from error
    except httpx2.HTTPError as error:
        raise ClusterError(
            f"{what}: the API server {connection.server} does not answer: {_shorten(error)}",
            next_step=f"see whether it can be reached from here ({connection.context})",
        ) from error


def read_document(connection: Connection, path: str) -> Any:
    """Read what the API server says at a path that is no object of it, such as /version. Raises ClusterError.

    ValueError where the answer is no JSON.
    """
    parameters = client_adapter.ConnectionParams(timeout=httpx2.Timeout(10.0))
    with (
        telling_errors(connection, f"reading {path}"),
        client_adapter.Client(connection.config, parameters) as client,
    ):
        answer = client.get(path)
        if answer.is_error:
            said = f"HTTP status {answer.status_code}"
            raise _make_error(connection, f"reading {path}", answer.status_code, said)
    return answer.json()


def stream_lines(
    connection: Connection, path: str, parameters: Mapping[str, str], *, silent_for_s: float
) -> Iterator[str]:
    """Yield the lines of an answer as they come, such as those of a log; a line ends at a line feed alone.

    Raises ApiError for a request that is refused, httpx2.ReadTimeout once nothing has come for so long, and
    httpx2.HTTPError.
    """
    timeout = httpx2.Timeout(20.0, connect=10.0, read=silent_for_s)
    with (
        client_adapter.Client(connection.config, client_adapter.ConnectionParams(timeout=timeout)) as client,
        client.stream("GET", path, params=dict(parameters)) as answer,
    ):
        if answer.is_error:
            answer.read()  # the error that is raised quotes it
            cast(Any, GenericSyncClient).raise_for_status(answer)
        rest = b""
        for piece in answer.iter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
            if len(rest) > _MOST_LINE_BYTES:
                yield rest.decode(errors="replace")
                rest = b""
        if rest:
            yield rest.decode(errors="replace")


def has_api(connection: Connection, group: str) -> bool:
    """Whether a cluster has a group of APIs, such as that of an operator. Raises ClusterError."""
    try:
        read_document(connection, f"/apis/{group}")
    except ClusterError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return False
        raise
    return True


def patiently(request: Callable[[], Result], *, for_s: float = 60.0) -> Result:
    """Make a request again while the API server is away, for so long. Raises ClusterError.

    An API server that has just started refuses everybody for a moment: a refusal is believed after ten seconds.
    """
    begun = time.monotonic()
    while True:
        try:
            return request()
        except ClusterError as error:
            refused = error.status == HTTPStatus.FORBIDDEN
            if not (error.may_pass or refused) or time.monotonic() - begun > (_REFUSED_FOR_S if refused else for_s):
                raise
        time.sleep(_AGAIN_AFTER_S)


def _choose(context: str | None) -> SingleConfig:
    if context is None and "KUBECONFIG" not in os.environ:
        try:
            config = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
        except (ConfigError, KeyError, OSError):
            config = None
        if config is not None:
            return config
    file = os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    return _read(Path(file).expanduser(), context)


def _read(file: Path, context: str | None) -> SingleConfig:
    try:
        config = KubeConfig.from_file(file)
    except ConfigError as error:
        raise RequestError(
            f"there is no kubeconfig {file}", next_step="set KUBECONFIG to the file of your cluster"
        ) from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(
            f"{file} is no kubeconfig: {_shorten(error)}", next_step="`kubectl config view` checks it"
        ) from error
    names = ", ".join(sorted(config.contexts)) or "none"
    try:
        chosen = config.get(context) if context or config.current_context else None
    except (ConfigError, KeyError) as error:
        name = context or config.current_context
        raise RequestError(
            f"{file} has no context {name}, or not its cluster or user", next_step=f"--context NAME, one of: {names}"
        ) from error
    if chosen is None:
        raise RequestError(f"{file} has no current context", next_step=f"--context NAME, one of: {names}")
    return chosen


def _describe(connection: Connection, what: str, error: ApiError) -> ClusterError:
    return _make_error(connection, what, error.response.status_code, _shorten(error.status.message or error))


def _make_error(connection: Connection, what: str, status: int, said: str) -> ClusterError:
    remedies = {
        401: f"renew the credentials of {connection.context}",
        403: "`ptp-harness cluster smoke` lists the rights that are needed, and which are there",
        404: f"`kubectl get namespace {connection.namespace}`, and see whether the cluster has this API",
    }
    if status == 401:
        said = f"the API server {connection.server} does not know these credentials, or they have expired"
    return ClusterError(f"{what}: {said}", next_step=remedies.get(status, ""), status=status)


def _shorten(error: object) -> str:
    return one_line(str(error), _MOST_CHARACTERS) or type(error).__name__
