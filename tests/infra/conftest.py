"""The program, run against a monitor that writes down every registration: no engine, no cloud."""

import asyncio
import json
import runpy
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks

ROOT = Path(__file__).parents[2]
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True, slots=True)
class Registered:
    """One resource as the program registered it: `inputs` as they stand on the wire, secrets still wrapped."""

    type: str
    name: str
    parent: str
    inputs: dict[str, Any]
    ignored: list[str]
    replacing: list[str] = field(default_factory=list)
    timeouts: dict[str, str] = field(default_factory=dict)

    def open(self, name: str) -> Any:
        """An input's value, whether it is a secret or not."""
        value = self.inputs[name]
        return json.loads(json.dumps(value["value"])) if is_secret(value) else value


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(SIGNATURE) == SECRET


@dataclass(slots=True)
class Record:
    """All that a run of the program registered, called and exported."""

    resources: list[Registered] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[Registered]:
        return [each for each in self.resources if each.type == kind]

    def one(self, kind: str) -> Registered:
        (found,) = self.of(kind)
        return found


ANSWERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "aws:ec2/getInstanceType:getInstanceType": lambda args: {
        "phcSupport": {"t": "unsupported", "m": "supported"}.get(args["instanceType"][0], ""),
        "supportedArchitectures": ["arm64"] if "g" in args["instanceType"].split(".")[0][1:] else ["i386", "x86_64"],
    },
    "aws:ssm/getParameter:getParameter": lambda args: {"value": "ami-0abc"},
    "aws:ec2/getSubnet:getSubnet": lambda args: {"vpcId": "vpc-of-" + args["id"]},
}

MADE: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "aws:ec2/instance:Instance": lambda inputs: {
        "publicIp": "198.51.100.4",
        "privateIp": "10.0.0.4",
        "availabilityZone": inputs.get("availabilityZone", "eu-north-1a"),
    },
    "aws:ec2/keyPair:KeyPair": lambda inputs: {"keyName": "host-key-1f2e"},
    "aws:ec2/placementGroup:PlacementGroup": lambda inputs: {"name": "host-placement-1f2e"},
    "aws:ec2/securityGroup:SecurityGroup": lambda inputs: {},
    "ptp:infra:PrecisionHost": lambda inputs: {},
}


class Monitor(mocks.MockMonitor):
    """Writes down what it is asked; what is in neither table is refused."""

    def __init__(self, record: Record) -> None:
        super().__init__(_Answers(record))
        self.record = record

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        if request.type != "pulumi:pulumi:Stack":
            inputs = json_format.MessageToDict(request.object)
            self.record.resources.append(
                Registered(
                    request.type,
                    request.name,
                    request.parent,
                    inputs,
                    list(request.ignoreChanges),
                    list(request.replaceOnChanges),
                    json_format.MessageToDict(request.customTimeouts),
                )
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if "pulumi:pulumi:Stack" in request.urn:
            self.record.outputs |= json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)


class _Answers(mocks.Mocks):
    def __init__(self, record: Record) -> None:
        self.record = record

    def call(self, args: mocks.MockCallArgs) -> Any:
        self.record.calls.append((args.token, dict(args.args)))
        return ANSWERS[args.token](args.args)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", {**args.inputs, **MADE[args.typ](args.inputs)}


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    return loaded


@pytest.fixture(scope="session")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.read_text()


@pytest.fixture(scope="session")
def complete(host_key: str) -> dict[str, str]:
    """Settings that leave nothing to be asked of this machine."""
    return {
        "instanceType": "m7i.large",
        "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 controller",
        "hostKey": host_key,
        "controllerCidr": "192.0.2.7/32",
        "owner": "ada",
        "expires": "2026-11-21T14:05:00+00:00",
    }


Program = Callable[..., Record]


@pytest.fixture(scope="session")
def run_program(project: Mapping[str, Any], complete: Mapping[str, str]) -> Iterator[Program]:
    """Runs infra/__main__.py with these settings over the complete ones; Pulumi.yaml's defaults fill up the rest."""
    defaults = {key: str(each["default"]) for key, each in project["config"].items() if "default" in each}

    def run(stack: str = "k3f9-m7i.large", region: str | None = "eu-north-1", **settings: str) -> Record:
        record = Record()
        try:
            asyncio.get_event_loop()
        except RuntimeError:  # another test has closed that of this thread
            asyncio.set_event_loop(asyncio.new_event_loop())
        mocks.set_mocks(_Answers(record), project="ptp-harness", stack=stack, monitor=Monitor(record))
        values = {f"ptp-harness:{key}": value for key, value in {**defaults, **complete, **settings}.items()}
        pulumi.runtime.set_all_config(values | ({"aws:region": region} if region else {}), ["ptp-harness:hostKey"])

        @pulumi.runtime.test  # type: ignore[untyped-decorator]
        def body() -> None:
            runpy.run_path(str(ROOT / "infra"), run_name="__main__")

        body()
        return record

    return run
