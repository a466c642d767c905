"""Let a model of AWS refuse what a policy does not allow, by @cloud-copilot/iam-simulate.

Not modelled: policies of resources, organisations and sessions, which an account may add.
"""

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moto.core.responses import BaseResponse
from moto.ec2.models import EC2Backend, ec2_backends
from moto.iam.models import iam_backends
from werkzeug.exceptions import HTTPException

from tests.doubles import sessions, spot_requests
from tests.doubles.iam_requests import ApiCall, IamRequest, iam_requests
from tests.doubles.policy import ADMINISTRATOR, MODULES, find_node


class PolicyEvaluator:
    """A process of Node that evaluates requests against a policy. Threads share it."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        argv = [find_node() or "node", str(Path(__file__).with_name("iam_simulate.mjs")), str(MODULES)]
        self._policy, self._lock = policy, threading.Lock()
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def refused(self, requests: Sequence[IamRequest], account: str) -> list[IamRequest]:
        """Return the requests that the policy does not allow. Raises ValueError for one that IAM does not know."""
        told = [
            {"action": each.action, "resource": each.resource, "account": account, "context": each.context}
            for each in requests
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"policy": self._policy, "requests": told}) + "\n")
            self._process.stdin.flush()
            answers = json.loads(self._process.stdout.readline())
        for request, answer in zip(requests, answers, strict=True):
            if answer["note"]:
                raise ValueError(f"{request}: {answer['note']}")
        return [request for request, answer in zip(requests, answers, strict=True) if not answer["allowed"]]


Log = Callable[[ApiCall, Sequence[IamRequest], Sequence[IamRequest]], None]
"""Takes a call, its requests to IAM, and those that were refused."""


def write_to(path: Path) -> Log:
    """Return a log that appends each call to the file as a line of JSON."""

    def log(call: ApiCall, requests: Sequence[IamRequest], refused: Sequence[IamRequest]) -> None:
        line = {
            "call": f"{call.service}:{call.action}",
            "requests": [asdict(each) for each in requests],
            "refused": [asdict(each) for each in refused],
        }
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return log


def install(evaluator: PolicyEvaluator, log: Log | None = None) -> None:
    """Make moto's services of this process refuse what the policy does not allow, in the words of AWS."""

    def authorise(self: Any, _resource: str) -> None:
        if self.get_access_key() == ADMINISTRATOR:
            return
        call = _read_call(self)
        requests = iam_requests(call)
        refused = evaluator.refused(requests, call.account)
        if log is not None:
            log(call, requests, refused)
        if refused:
            raise _Refusal(call, refused[0])

    BaseResponse._authenticate_and_authorize_normal_action = authorise  # type: ignore[assignment, method-assign]


class _Refusal(HTTPException):
    code = 403

    def __init__(self, call: ApiCall, request: IamRequest) -> None:
        user = f"arn:{call.partition}:iam::{call.account}:user/controller"
        message = (
            f"User: {user} is not authorized to perform: {request.action} on resource: {request.resource} because no "
            f"identity-based policy allows the {request.action} action"
        )
        if call.service == "ec2":
            message = f"You are not authorized to perform this operation. {message}"
            errors = f"<Error><Code>UnauthorizedOperation</Code><Message>{message}</Message></Error>"
            description = f"<Response><Errors>{errors}</Errors><RequestID>0</RequestID></Response>"
        else:
            description = json.dumps({"__type": "AccessDeniedException", "message": message})
        super().__init__(description)


def _read_call(response: BaseResponse) -> ApiCall:
    account, region = response.current_account, response.region
    backend: EC2Backend = ec2_backends[account][region]
    return ApiCall(
        service=str(response.service_name),
        action=response._get_action(),
        region=region,
        account=account,
        partition=response.partition,
        parameters=_Parameters(response),
        tags_of=lambda kind, ident: _tags_of(backend, kind, ident),
        roles_of_profile=lambda name: _roles_of_profile(account, response.partition, name),
    )


class _Parameters(dict[str, Any]):
    """A call's parameters, by name."""

    def __init__(self, response: BaseResponse) -> None:
        super().__init__()
        self._response = response

    def __missing__(self, name: str) -> Any:
        return self._response._get_param(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self._response._get_param(name) or default


def _tags_of(backend: EC2Backend, kind: str, ident: str) -> Mapping[str, str]:
    if kind == "placement-group":
        groups: Mapping[str, Any] = backend.__dict__.get("placement_groups_of_ours", {})
        group = next((each for each in groups.values() if ident in (each["GroupName"], each["GroupId"])), None)
        return {each["Key"]: each["Value"] for each in group["Tags"]} if group else {}
    if kind == "spot-instances-request":
        request = spot_requests.spot_requests(backend).get(ident, {"Tags": []})
        return {each["Key"]: each["Value"] for each in request["Tags"]}
    if kind == "session":
        return sessions.sessions(backend).get(ident, {})
    if kind == "key-pair":
        ident = backend.key_pairs[ident].id if ident in backend.key_pairs else ident
    return dict(backend.tags.get(ident, {}))


def _roles_of_profile(account: str, partition: str, name: str) -> list[str]:
    profiles = iam_backends[account][partition].instance_profiles.values() if name else []
    return [role.arn for profile in profiles if profile.name == name for role in profile.roles]
