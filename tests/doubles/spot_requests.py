"""Give moto's spot instances the requests that EC2 makes with RunInstances: described, and cancelled, by their id."""

import hashlib
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response


def open_request(backend: EC2Backend, instance: Instance, response: EC2Response) -> None:
    """Make the request of a spot instance, and name it in the instance. Its tags are those of its own specification."""
    ident = "sir-" + hashlib.sha256(instance.id.encode()).hexdigest()[:8]
    tags = response._parse_tag_specification().get("spot-instances-request", {})
    spot_requests(backend)[ident] = {
        "SpotInstanceRequestId": ident,
        "InstanceId": instance.id,
        "State": "active",
        "Status": {"Code": "fulfilled", "Message": "Your Spot request is fulfilled."},
        "Type": response._get_param("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
        "InstanceInterruptionBehavior": response._get_param(
            "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"
        ),
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    instance.spot_instance_request_id = ident  # type: ignore[attr-defined]
    instance.instance_lifecycle = "spot"  # type: ignore[attr-defined]


def spot_requests(backend: EC2Backend) -> dict[str, dict[str, Any]]:
    """Return a Region's spot requests by id. They are stored in the backend, so that a reset removes them."""
    requests: dict[str, dict[str, Any]] = backend.__dict__.setdefault("spot_requests_of_ours", {})
    return requests


def describe_spot_instance_requests(self: EC2Response) -> ActionResult:
    return ActionResult({"SpotInstanceRequests": _named(self)})


def cancel_spot_instance_requests(self: EC2Response) -> ActionResult:
    self.error_on_dryrun()
    for request in _named(self):
        request["State"] = "cancelled"
    cancelled = [
        {"SpotInstanceRequestId": each["SpotInstanceRequestId"], "State": "cancelled"} for each in _named(self)
    ]
    return ActionResult({"CancelledSpotInstanceRequests": cancelled})


def _named(response: EC2Response) -> list[dict[str, Any]]:
    existing = spot_requests(response.ec2_backend)
    idents = response._get_param("SpotInstanceRequestIds", []) or list(existing)
    if unknown := [ident for ident in idents if ident not in existing]:
        message = f"The spot instance request ID '{unknown[0]}' does not exist"
        raise EC2ClientError("InvalidSpotInstanceRequestID.NotFound", message)
    return [existing[ident] for ident in idents]
