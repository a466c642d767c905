"""docs/iam-policy.json against every call of a campaign and of the AWS provider, as IAM evaluates it."""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.benches.ec2 import checks
from harness.benches.ec2.account import lease_tags, permissions, resource_removal, tagged_resources
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.images import baked_images
from harness.model.ownership import EXPIRES, RUN, SIGNATURE, TOKEN, DescribedResource, Signer, why_not_ours
from infra.user_data import public_part
from tests.doubles import aws_provider, iam, policy, provider_calls, rehearsal
from tests.doubles.iam_requests import IamRequest
from tests.doubles.kinds import INVOKES, KINDS

from .conftest import ROOT, Program, Record

REGION = "eu-north-1"
ACCOUNT = "123456789012"
POLICY = json.loads((ROOT / "docs/iam-policy.json").read_text())
PROFILE = "ptp-harness-ssm"
SIGNER = Signer(b"k" * 32)

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(
        policy.missing_tool() is not None, reason=f"needs the evaluator of policies: {policy.missing_tool()}"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@dataclass(frozen=True, slots=True)
class Account:
    """An account whose API refuses what the policy does not allow."""

    endpoint: str
    log: Path

    def client(self, service: str = "ec2", key: str = policy.CONTROLLER) -> Any:
        patient = Config(read_timeout=300, retries={"total_max_attempts": 1})
        make_client: Any = boto3.client
        return make_client(
            service,
            REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key="testing",
            config=patient,
        )

    def administrator(self, service: str = "ec2") -> Any:
        return self.client(service, policy.ADMINISTRATOR)

    def calls(self) -> list[dict[str, Any]]:
        """The calls since the last `forget`, each with its requests to IAM."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def forget(self) -> None:
        self.log.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    log = tmp_path_factory.mktemp("iam") / "calls.jsonl"
    arguments = ("--policy", str(policy.POLICY), "--iam-log", str(log))
    with rehearsal.serve_double("ec2_server.py", *arguments, environ=os.environ) as port:
        account = Account(f"http://127.0.0.1:{port}", log)
        roles = account.administrator("iam")
        for name in (PROFILE, "administrator"):
            roles.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            roles.create_instance_profile(InstanceProfileName=name)
            roles.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        yield account


@pytest.fixture
def account(served: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", served.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", policy.CONTROLLER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("harness.benches.ec2.api.api.READ_S", 300)
    served.forget()
    return served


@pytest.fixture(scope="module")
def evaluator() -> Iterator[iam.PolicyEvaluator]:
    evaluator = iam.PolicyEvaluator(POLICY)
    yield evaluator
    evaluator.close()


# --- the program's resources, by the provider's double ----------------------------------------------------------------


@dataclass(slots=True)
class Stack:
    """What the program declares, made one resource after the other; `calls` are the operations' API calls."""

    ec2: Any
    record: Record
    ids: dict[str, str]
    calls: dict[tuple[str, str], set[str]]

    def up(self, image: str) -> "Stack":
        stand_ins = {"ami-0abc": image}
        for each in self.record.resources:
            kind = KINDS.get(each.type)
            if kind is None:
                continue
            told = {name: each.open(name) for name in each.inputs}
            inputs = aws_provider.plain(aws_provider.struct(_replace(told, stand_ins)))
            if kind.name_property and not inputs.get(kind.name_property):
                inputs[kind.name_property] = f"{each.name}-1f2e"
            with self._noting(each.type, "create"):
                self.ids[each.type] = kind.create(self.ec2, inputs)
                kind.read(self.ec2, self.ids[each.type])
            stand_ins |= dict.fromkeys((f"{each.name}-id", f"{each.name}-1f2e"), self.ids[each.type])
            with self._noting(each.type, "read"):
                assert kind.read(self.ec2, self.ids[each.type]) is not None
        return self

    def down(self) -> None:
        for kind, ident in reversed(self.ids.items()):
            with self._noting(kind, "delete"):
                KINDS[kind].delete(self.ec2, ident)

    @property
    def instance(self) -> str:
        return self.ids[provider_calls.INSTANCE]

    def _noting(self, kind: str, operation: str) -> "_Noting":
        return _Noting(self.ec2, self.calls.setdefault((kind, operation), set()))


@dataclass(slots=True)
class _Noting:
    ec2: Any
    calls: set[str]

    def __enter__(self) -> None:
        self.ec2.meta.events.register("before-call.ec2", self._note, unique_id="noting")

    def __exit__(self, *_: object) -> None:
        self.ec2.meta.events.unregister("before-call.ec2", unique_id="noting")

    def _note(self, model: Any, **_: object) -> None:
        self.calls.add(model.name)


def _replace(value: Any, stand_ins: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replace(each, stand_ins) for key, each in value.items()}
    if isinstance(value, list):
        return [_replace(each, stand_ins) for each in value]
    return stand_ins.get(value, value) if isinstance(value, str) else value


def named_image(account: Account) -> str:
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    return str(INVOKES["aws:ssm/getParameter:getParameter"]({"ssm": account.client("ssm")}, {"name": name})["value"])


BringUp = Callable[..., Stack]


@pytest.fixture
def bring_up(run_program: Program, account: Account, host_key: str, request: pytest.FixtureRequest) -> BringUp:
    """Makes what the program declares with these settings. Names are the test's own."""
    name = re.sub(r"\W+", "-", request.node.name)[-60:].strip("-")

    def make(**settings: str) -> Stack:
        told = {"resourceName": f"ptp-harness-{name}", "publicKey": public_part(host_key), **settings}
        return Stack(account.client(), run_program(**told), {}, {}).up(named_image(account))

    return make


USES: dict[str, dict[str, str]] = {
    "on demand": {},
    "by hand": {"resourceName": ""},
    "market: spot": {"market": "spot"},
    "instance_profile": {"instanceProfile": PROFILE},
    "access: ssm": {"access": "ssm", "controllerCidr": "", "instanceProfile": PROFILE},
}


@pytest.mark.parametrize("use", USES)
def test_all_that_the_provider_calls_is_allowed(bring_up: BringUp, account: Account, use: str) -> None:
    bring_up(placement="precision-time", **USES[use]).down()
    assert [each["refused"] for each in account.calls() if each["refused"]] == []
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreatePlacementGroup"} <= {
        each["call"] for each in account.calls()
    }


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {}),
        ({"market": "spot"}, provider_calls.ON_SPOT),
        ({"instanceType": "t3.micro", "placement": "none"}, provider_calls.ON_BURSTABLE),
    ],
)
def test_the_double_makes_the_calls_of_the_real_provider(
    bring_up: BringUp, settings: dict[str, str], more: Any
) -> None:
    stack = bring_up(**{"placement": "precision-time"} | settings)
    stack.down()
    stated = {
        operation: calls | more.get(operation, set())
        for operation, calls in provider_calls.CALLS.items()
        if settings.get("placement") != "none" or operation[0] != provider_calls.PLACEMENT_GROUP
    }
    missing = {operation: calls - stack.calls[operation] for operation, calls in stated.items()}
    assert {operation: calls for operation, calls in missing.items() if calls} == {}
    undeclared = {operation: stack.calls[operation] - calls for operation, calls in stated.items()}
    assert {operation: calls for operation, calls in undeclared.items() if calls} == {
        (provider_calls.SECURITY_GROUP, "create"): {
            "DescribeVpcs"
        }  # moto needs the default network's name, EC2 does not
    }


def test_the_root_volume_is_tagged_by_the_launch_itself(bring_up: BringUp, account: Account) -> None:
    stack = bring_up()
    volumes = account.client().describe_volumes(Filters=[{"Name": f"tag:{RUN}", "Values": ["by-hand"]}])["Volumes"]
    assert [each["Attachments"][0]["InstanceId"] for each in volumes] == [stack.instance]
    assert "ec2:CreateTags" not in {each["call"] for each in account.calls()}
    stack.down()


# --- the harness's own calls ------------------------------------------------------------------------------------------


def test_doctor_may_ask_all_that_it_asks(account: Account) -> None:
    home = EngineHome(folder=Path("/nowhere"), project=Path("/nowhere"), command="no-such-pulumi")
    lines = checks.run_checks(REGION, home)
    assert {line.name for line in lines if not line.ok} - {"TerminateInstances"} == {"pulumi"}
    refused = {each["call"] for each in account.calls() if each["refused"]}
    assert refused <= {"ec2:TerminateInstances"}, "whose trial names an instance that nobody has"


def test_a_bake_and_a_sweep_may_do_all_that_they_do(bring_up: BringUp, account: Account) -> None:
    stack = bring_up(placement="precision-time", run="k3f9")
    api = Api(REGION)
    tags = {RUN: "k3f9", TOKEN: "k3f9/image-m7i.large/1", EXPIRES: "2027-01-31T12:00:00+00:00", baked_images.NAME: "a"}
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
    api.call("ec2", "stop_instances", task="stopping", InstanceIds=[stack.instance])
    specifications = [{"ResourceType": kind, "Tags": tag_list} for kind in ("image", "snapshot")]
    arguments = {"InstanceId": stack.instance, "Name": "ptp-harness-a", "TagSpecifications": specifications}
    made = api.call("ec2", "create_image", task="copying", **arguments)["ImageId"]
    (image,) = [each for each in baked_images.list_images(api, SIGNER) if each.ident == made]
    for snapshot in image.snapshots:
        baked_images.sign(api, "snapshot", snapshot, tags, SIGNER, task="signing")
    baked_images.publish(api, image, SIGNER, proof="k3fa")
    leftovers = [
        *tagged_resources.find(api, run="k3f9"),
        *[tagged_resources.TaggedResource(kind="image", ident=made, tags={})],
        *[tagged_resources.TaggedResource(kind="snapshot", ident=each, tags={}) for each in image.snapshots],
    ]
    assert {each.kind for each in leftovers} == {*resource_removal.REMOVALS, "instance"} - {"volume"}
    resource_removal.remove(api, leftovers)
    assert tagged_resources.find(api, run="k3f9") == []
    assert [each["refused"] for each in account.calls() if each["refused"]] == []


def test_the_lease_of_a_host_may_be_extended_and_it_stays_ours(bring_up: BringUp, account: Account) -> None:
    stack = bring_up(placement="precision-time", run="k3f9", token="k3f9/m7i.large/1")
    api, until = Api(REGION), "2027-01-31T12:00:00+00:00"

    def find_instance() -> tagged_resources.TaggedResource:
        found = tagged_resources.find(api, token="k3f9/m7i.large/1")
        return next(each for each in found if each.kind == "instance")

    lease_tags.write(api, find_instance(), until, SIGNER, host="m7i.large")
    again = find_instance()
    assert again.expires == until
    proven = DescribedResource(kind=again.kind, ident=again.ident, tags=again.tags, given_name=again.given_name)
    assert why_not_ours(proven, SIGNER) is None
    forged = replace(proven, tags={**again.tags, EXPIRES: "2028-01-31T12:00:00+00:00"})
    assert why_not_ours(forged, SIGNER) is not None
    assert [each["refused"] for each in account.calls() if each["refused"]] == []
    for tags in ([{"Key": TOKEN, "Value": "k3f9/other/1"}], [{"Key": EXPIRES, "Value": until}, *OURS]):
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            account.client().create_tags(Resources=[stack.instance], Tags=tags)
    stack.down()


def test_a_session_with_our_host_is_allowed_and_ends(bring_up: BringUp, account: Account) -> None:
    stack = bring_up(access="ssm", controllerCidr="", instanceProfile=PROFILE)
    ssm = account.client("ssm")
    session = ssm.start_session(Target=stack.instance, DocumentName="AWS-StartSSHSession")["SessionId"]
    ssm.resume_session(SessionId=session)
    ssm.terminate_session(SessionId=session)
    with pytest.raises(ClientError, match=r"AccessDenied.*document/SSM-SessionManagerRunShell"):
        ssm.start_session(Target=stack.instance)
    with pytest.raises(ClientError, match=r"AccessDenied.*TerminateSession"):
        ssm.terminate_session(SessionId="of-somebody-else")
    stack.down()


# --- what must be refused ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Others:
    """Resources of somebody else in the same account."""

    ec2: Any
    image: str
    instance: str
    volume: str
    group: str


@pytest.fixture(scope="module")
def others(served: Account, host_key: str) -> Others:
    ec2 = served.administrator()
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    image = served.administrator("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="m7i.large")["Instances"][0]
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    group = ec2.create_security_group(GroupName="theirs", Description="theirs")["GroupId"]
    ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=public_part(host_key).encode())
    ec2.create_placement_group(GroupName="theirs", Strategy="cluster")
    return Others(ec2, image, instance["InstanceId"], volume, group)


OURS = [{"Key": RUN, "Value": "k3f9"}]
LAUNCH: dict[str, Any] = {"MinCount": 1, "MaxCount": 1, "InstanceType": "m7i.large"}
TAGGED = [{"ResourceType": kind, "Tags": OURS} for kind in ("instance", "volume")]

REFUSED = {
    "ending another's instance": lambda ec2, it: ec2.terminate_instances(InstanceIds=[it.instance]),
    "stopping another's instance": lambda ec2, it: ec2.stop_instances(InstanceIds=[it.instance]),
    "starting an instance": lambda ec2, it: ec2.start_instances(InstanceIds=[it.instance]),
    "changing another's instance": lambda ec2, it: ec2.modify_instance_attribute(
        InstanceId=it.instance, DisableApiTermination={"Value": False}
    ),
    "copying another's disk": lambda ec2, it: ec2.create_image(InstanceId=it.instance, Name="stolen"),
    "tagging another's volume": lambda ec2, it: ec2.create_tags(Resources=[it.volume], Tags=OURS),
    "tagging another's instance": lambda ec2, it: ec2.create_tags(Resources=[it.instance], Tags=OURS),
    "giving another's instance a lease": lambda ec2, it: ec2.create_tags(
        Resources=[it.instance], Tags=[{"Key": EXPIRES, "Value": "2027-01-31T12:00:00+00:00"}]
    ),
    "tagging another's image": lambda ec2, it: ec2.create_tags(Resources=[it.image], Tags=OURS),
    "deleting another's volume": lambda ec2, it: ec2.delete_volume(VolumeId=it.volume),
    "deleting another's security group": lambda ec2, it: ec2.delete_security_group(GroupId=it.group),
    "opening another's security group": lambda ec2, it: ec2.authorize_security_group_ingress(
        GroupId=it.group, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ),
    "deleting another's key": lambda ec2, it: ec2.delete_key_pair(KeyName="theirs"),
    "deleting another's placement group": lambda ec2, it: ec2.delete_placement_group(GroupName="theirs"),
    "removing another's image": lambda ec2, it: ec2.deregister_image(ImageId=it.image),
    "an untagged instance": lambda ec2, it: ec2.run_instances(ImageId=it.image, **LAUNCH),
    "an instance with an untagged disk": lambda ec2, it: ec2.run_instances(
        ImageId=it.image, TagSpecifications=TAGGED[:1], **LAUNCH
    ),
    "passing another role": lambda ec2, it: ec2.run_instances(
        ImageId=it.image, TagSpecifications=TAGGED, IamInstanceProfile={"Name": "administrator"}, **LAUNCH
    ),
    "an untagged key": lambda ec2, it: ec2.import_key_pair(KeyName="k", PublicKeyMaterial=b"ssh-ed25519 AAAA"),
    "an untagged security group": lambda ec2, it: ec2.create_security_group(GroupName="g", Description="g"),
    "an untagged placement group": lambda ec2, it: ec2.create_placement_group(GroupName="g", Strategy="cluster"),
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_what_is_not_ours_is_refused(account: Account, others: Others, attempt: str) -> None:
    with pytest.raises(ClientError, match="UnauthorizedOperation") as caught:
        REFUSED[attempt](account.client(), others)
    assert caught.value.response["Error"]["Code"] == "UnauthorizedOperation"


def test_a_session_with_another_s_instance_is_refused(account: Account, others: Others) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied.*ssm:StartSession on resource: .*instance/i-"):
        account.client("ssm").start_session(Target=others.instance, DocumentName="AWS-StartSSHSession")


# --- the statements ---------------------------------------------------------------------------------------------------


def without(sids: Sequence[str]) -> dict[str, Any]:
    shorter = copy.deepcopy(POLICY)
    shorter["Statement"] = [each for each in shorter["Statement"] if each["Sid"] not in sids]
    assert len(shorter["Statement"]) == len(POLICY["Statement"]) - len(sids)
    return shorter


def ec2_request(action: str, kind: str, partition: str = "aws", **context: str) -> IamRequest:
    owner = "" if kind in ("image", "snapshot") else ACCOUNT
    return IamRequest(action=action, resource=f"arn:{partition}:ec2:{REGION}:{owner}:{kind}/a", context=context)


def requests_of_uses(partition: str = "aws", service: str = "ec2.amazonaws.com") -> dict[str, list[IamRequest]]:
    """The requests to IAM that a statement of its own allows, by use."""
    made = {f"aws:RequestTag/{RUN}": "k3f9"}
    ours = {f"aws:ResourceTag/{RUN}": "k3f9"}
    arn = f"arn:{partition}"
    document = {"ssm:SessionDocumentAccessCheck": "true"}
    return {
        "on demand": [
            *(ec2_request("ec2:RunInstances", kind, partition, **made) for kind in ("instance", "volume")),
            *(ec2_request("ec2:RunInstances", kind, partition) for kind in ("subnet", "image", "key-pair")),
            ec2_request("ec2:CreateTags", "volume", partition, **made, **{"ec2:CreateAction": "RunInstances"}),
            ec2_request("ec2:TerminateInstances", "instance", partition, **ours),
            IamRequest(
                action="ssm:GetParameters",
                resource=f"{arn}:ssm:{REGION}::parameter/aws/service/debian/release/12/latest/amd64",
                context={},
            ),
        ],
        "market: spot": [
            ec2_request("ec2:RunInstances", "spot-instances-request", partition),
            ec2_request("ec2:CancelSpotInstanceRequests", "spot-instances-request", partition),
            IamRequest(
                action="iam:CreateServiceLinkedRole",
                resource=f"{arn}:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
                context={"iam:AWSServiceName": "spot.amazonaws.com"},
            ),
        ],
        "access: ssm": [
            ec2_request("ssm:StartSession", "instance", partition, **document, **{f"ssm:resourceTag/{RUN}": "k3f9"}),
            IamRequest(
                action="ssm:StartSession",
                resource=f"{arn}:ssm:{REGION}::document/AWS-StartSSHSession",
                context=document,
            ),
            IamRequest(
                action="ssm:TerminateSession",
                resource=f"{arn}:ssm:{REGION}:{ACCOUNT}:session/controller-1",
                context={"aws:userid": "AIDA1", "ssm:resourceTag/aws:ssmmessages:session-id": "AIDA1"},
            ),
        ],
        "instance_profile": [
            IamRequest(
                action="iam:PassRole",
                resource=f"{arn}:iam::{ACCOUNT}:role/{PROFILE}",
                context={"iam:PassedToService": service},
            )
        ],
        "keep --for": [
            IamRequest(
                action="ec2:CreateTags",
                resource=f"{arn}:ec2:{REGION}:{ACCOUNT}:instance/a",
                context={**ours, "aws:TagKeys": [EXPIRES, SIGNATURE]},
            )
        ],
        "image bake": [
            ec2_request("ec2:StopInstances", "instance", partition, **ours),
            ec2_request("ec2:CreateImage", "image", partition, **made),
            ec2_request("ec2:DeregisterImage", "image", partition, **ours),
        ],
    }


@pytest.mark.parametrize(
    ("partition", "service"),
    [("aws", "ec2.amazonaws.com"), ("aws-cn", "ec2.amazonaws.com.cn"), ("aws-us-gov", "ec2.amazonaws.com")],
)
def test_the_policy_serves_each_partition(evaluator: iam.PolicyEvaluator, partition: str, service: str) -> None:
    requests = [each for requests in requests_of_uses(partition, service).values() for each in requests]
    assert evaluator.refused(requests, ACCOUNT) == []


@pytest.mark.parametrize("use", permissions.OPTIONAL)
def test_a_use_without_its_statements_is_refused_and_all_others_are_not(use: str) -> None:
    evaluator = iam.PolicyEvaluator(without(permissions.OPTIONAL[use]))
    try:
        for other, requests in requests_of_uses().items():
            refused = evaluator.refused(requests, ACCOUNT)
            assert refused == (requests if other == use else [])
    finally:
        evaluator.close()


def test_the_page_names_each_statement_that_one_use_alone_needs() -> None:
    page = (ROOT / "docs/ec2.md").read_text()
    assert [sid for sids in permissions.OPTIONAL.values() for sid in sids if f"`{sid}`" not in page] == []


def test_a_request_that_iam_does_not_know_is_an_error(evaluator: iam.PolicyEvaluator) -> None:
    with pytest.raises(ValueError, match="ec2:TerminateHost"):
        evaluator.refused([ec2_request("ec2:TerminateHost", "instance")], ACCOUNT)
