"""Add Session Manager to moto: sessions to instances whose agent has registered, some time after their start."""

import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ssm.exceptions import SSMException
from moto.ssm.responses import SimpleSystemManagerResponse

REGISTERS_AFTER_S = 0.0
"""Seconds from an instance's start until its agent has registered; EC2's take 30 to 60."""


class TargetNotConnected(SSMException):
    """Session Manager does not know the instance, or not yet."""

    def __init__(self, instance: str) -> None:
        super().__init__("TargetNotConnected", f"{instance} is not connected.")


def start_session(self: SimpleSystemManagerResponse) -> ActionResult:
    target = self._get_param("Target")
    backend = _backend(self)
    instances = [each for reservation in backend.reservations.values() for each in reservation.instances]
    instance = next((each for each in instances if each.id == target and each.state == "running"), None)
    first_seen = backend.__dict__.setdefault("agents_of_ours", {}).setdefault(target, time.monotonic())
    if instance is None or time.monotonic() - first_seen < REGISTERS_AFTER_S:
        raise TargetNotConnected(target)
    ident = f"controller-{len(sessions(backend)):017x}"
    sessions(backend)[ident] = {"aws:ssmmessages:session-id": "AIDAEXAMPLECONTROLLER"}
    return ActionResult({"SessionId": ident, "TokenValue": "token", "StreamUrl": "wss://127.0.0.1/"})


def resume_session(self: SimpleSystemManagerResponse) -> ActionResult:
    ident = self._get_param("SessionId")
    return ActionResult({"SessionId": ident, "TokenValue": "token", "StreamUrl": "wss://127.0.0.1/"})


def terminate_session(self: SimpleSystemManagerResponse) -> ActionResult:
    return ActionResult({"SessionId": self._get_param("SessionId")})


def sessions(backend: EC2Backend) -> dict[str, dict[str, str]]:
    """Return the tags of a Region's sessions by id; Session Manager tags each with the id of who started it."""
    started: dict[str, dict[str, str]] = backend.__dict__.setdefault("sessions_of_ours", {})
    return started


def _backend(response: Any) -> EC2Backend:
    backend: EC2Backend = ec2_backends[response.current_account][response.region]
    return backend
