"""The policy allows what the code calls, no more and no less, and a trial makes nothing."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from botocore.stub import Stubber

from harness.benches.ec2.account import permissions, resource_removal
from harness.benches.ec2.account.permissions import PermissionTrial
from harness.benches.ec2.api.api import Api
from harness.model.ownership import RUN

ROOT = Path(__file__).parents[5]
SOURCES = sorted((ROOT / "harness" / "benches" / "ec2").rglob("*.py"))
POLICY = json.loads((ROOT / "docs" / "iam-policy.json").read_text())
IAM_NAMES = {"service-quotas": "servicequotas"}
"""Where IAM calls a service otherwise than botocore does."""


BAKING = {*permissions.COPIED, *permissions.PUBLISHED}


def operations(service: str) -> dict[str, str]:
    """Python's name of each operation -> its own."""
    return {xform_name(name): name for name in get_session().get_service_model(service).operation_names}


def called(source: str) -> Iterator[str]:
    """The IAM action of each api.call and api.pages; of a name that runs over a tuple, of each of its words."""
    for function in [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]:
        words = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in ("call", "pages") or len(node.args) < 2:
                continue
            service, operation = node.args[0], node.args[1]
            if isinstance(service, ast.Name):  # Api's own passing on
                continue
            assert isinstance(service, ast.Constant), ast.unparse(node)
            names = operations(str(service.value))
            meant = [operation.value] if isinstance(operation, ast.Constant) else [w for w in words if w in names]
            if any(isinstance(part, ast.Name) and part.id == "REMOVALS" for part in ast.walk(function)):
                meant = [operation for operation, _ in resource_removal.REMOVALS.values()]
            assert meant, ast.unparse(node)
            yield from (f"{IAM_NAMES.get(str(service.value), service.value)}:{names[str(name)]}" for name in meant)


def removals() -> set[str]:
    """The actions by which what is left is removed: called by a table."""
    names = operations("ec2")
    return {f"ec2:{names[operation]}" for operation, _ in resource_removal.REMOVALS.values()}


def test_the_calls_of_a_source_are_found() -> None:
    one = 'def f(api):\n    api.call("ec2", "run_instances")\n    api.pages("ssm", "get_parameters", "Parameters")'
    many = 'def f(api):\n    for op in ("get_service_quota", "x"):\n        api.call("service-quotas", op, task="x")'
    assert list(called(one)) == ["ec2:RunInstances", "ssm:GetParameters"]
    assert list(called(many)) == ["servicequotas:GetServiceQuota"]


@pytest.mark.slow
def test_the_code_calls_what_the_table_says() -> None:
    found = {action for path in SOURCES for action in called(path.read_text())}
    stack = {action for table in (permissions.MADE, permissions.CHANGED) for each in table.values() for action in each}
    assert sorted(found - stack - BAKING) == sorted(permissions.CALLED)
    assert found >= BAKING - removals()


def test_the_policy_is_what_the_code_needs() -> None:
    assert permissions.policy() == POLICY, "write it anew: json.dumps(permissions.policy(), indent=2)"
    stack = {action for table in (permissions.MADE, permissions.CHANGED) for each in table.values() for action in each}
    sessions = {*permissions.SESSION, *permissions.SESSION_ENDS}
    needed = {*permissions.CALLED, *permissions.READ_BY_PROVIDER, *stack, *BAKING, *permissions.SPOT, *sessions}
    roles = {"iam:CreateServiceLinkedRole", "iam:PassRole"}
    assert set(permissions.actions()) == needed | roles | {"ec2:CreateTags"}


def test_whatever_is_left_may_be_removed() -> None:
    assert removals() <= set(permissions.actions())


def test_runs_need_all_but_what_images_are_made_by() -> None:
    baking = permissions.OPTIONAL["image bake"]
    without = [one for one in POLICY["Statement"] if one["Sid"] not in baking]
    assert len(POLICY["Statement"]) - len(without) == 3
    assert sorted({action for one in without for action in one["Action"]}) == permissions.actions_of_runs()


@pytest.mark.slow
def test_every_action_exists() -> None:
    services = {"ec2": "ec2", "ssm": "ssm", "sts": "sts", "pricing": "pricing", "servicequotas": "service-quotas"}
    services["iam"] = "iam"
    for action in permissions.actions():
        service, _, name = action.partition(":")
        assert name in operations(services[service]).values() or action == "iam:PassRole", action


def test_nothing_is_made_untagged_or_changed_that_is_not_ours() -> None:
    statements = {one["Sid"]: one for one in POLICY["Statement"]}
    ours = [action for actions in permissions.CHANGED.values() for action in actions]
    for statement in statements.values():
        assert not any("*" in action for action in statement["Action"])
        if set(statement["Action"]) & set(ours):
            assert statement["Condition"] == {"StringLike": {f"aws:ResourceTag/{RUN}": "*"}}
        if any("instance/*" in one for one in statement["Resource"]) and "ec2:RunInstances" in statement["Action"]:
            assert statement["Condition"] == {"StringLike": {f"aws:RequestTag/{RUN}": "*"}}
    assert all("Condition" in one for one in statements.values() if "ec2:CreateTags" in one["Action"]), (
        "a tag makes a thing ours"
    )


def test_each_resource_of_the_program_is_in_the_tables() -> None:
    program = ROOT / "infra"
    if not program.is_dir():
        pytest.skip("the Pulumi program is not here")
    made = {
        f"aws:{node.func.value.id}/{node.func.attr[0].lower()}{node.func.attr[1:]}:{node.func.attr}"
        for path in program.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("ec2", "iam", "ssm", "vpc")
        and node.func.attr[0].isupper()
        and not node.func.attr.endswith("Args")
    }
    assert made == set(permissions.MADE) == set(permissions.CHANGED)


WHERE = {"image": "ami-12345678", "instance_type": "m7i.large", "subnet": "subnet-1", "vpc": "vpc-1"}
CALLS = ("run_instances", "create_security_group", "import_key_pair", "create_placement_group", "terminate_instances")


def test_a_trial_of_each(api: Api, stub: Callable[[str], Stubber]) -> None:
    answers = {
        "run_instances": "DryRunOperation",
        "create_security_group": "UnauthorizedOperation",
        "import_key_pair": "DryRunOperation",
        "create_placement_group": "InvalidParameterValue",
        "terminate_instances": "InvalidInstanceID.NotFound",
    }
    stub("ec2").add_response("describe_instances", {"Reservations": []})
    for call in CALLS:
        stub("ec2").add_client_error(call, answers[call], "EC2's words")
    assert list(permissions.try_permissions(api, **WHERE)) == [
        PermissionTrial(action="ec2:RunInstances", allowed=True, answer="allowed"),
        PermissionTrial(
            action="ec2:CreateSecurityGroup",
            allowed=False,
            answer="trying CreateSecurityGroup: UnauthorizedOperation: EC2's words",
        ),
        PermissionTrial(action="ec2:ImportKeyPair", allowed=True, answer="allowed"),
        PermissionTrial(
            action="ec2:CreatePlacementGroup",
            allowed=None,
            answer="trying CreatePlacementGroup: InvalidParameterValue: EC2's words",
        ),
        PermissionTrial(
            action="ec2:TerminateInstances",
            allowed=None,
            answer="trying TerminateInstances: InvalidInstanceID.NotFound: EC2's words",
        ),
    ]


def trial_of_ending(api: Api, ec2: Stubber, *, instances: list[str], code: str) -> PermissionTrial:
    ec2.add_response(
        "describe_instances", {"Reservations": [{"Instances": [{"InstanceId": ident}]} for ident in instances]}
    )
    for call in CALLS[:-1]:
        ec2.add_client_error(call, "DryRunOperation", "EC2's words")
    asked = {"InstanceIds": [instances[0] if instances else "i-0123456789abcdef0"], "DryRun": True}
    ec2.add_client_error("terminate_instances", code, "EC2's words", expected_params=asked)
    return permissions.try_permissions(api, **WHERE)[-1]


def test_ending_is_not_known_to_be_refused_where_no_instance_carries_our_tag(
    api: Api, stub: Callable[[str], Stubber]
) -> None:
    """A policy that looks at tags refuses an instance without tags, and an invented instance has none."""
    trial = trial_of_ending(api, stub("ec2"), instances=[], code="UnauthorizedOperation")
    assert (trial.action, trial.allowed) == ("ec2:TerminateInstances", None)
    assert "there is no instance of ours to ask it of" in trial.answer


@pytest.mark.parametrize(("code", "allowed"), [("UnauthorizedOperation", False), ("DryRunOperation", True)])
def test_ending_is_asked_of_an_instance_of_ours(
    api: Api, stub: Callable[[str], Stubber], code: str, allowed: bool
) -> None:
    assert trial_of_ending(api, stub("ec2"), instances=["i-1", "i-2"], code=code).allowed is allowed


def test_trials_make_nothing(moto_api: Api, ec2: Any) -> None:
    subnet = ec2.describe_subnets()["Subnets"][0]
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["al2023-ami-2023*"]}])["Images"][0]["ImageId"]
    where = {"subnet": subnet["SubnetId"], "vpc": subnet["VpcId"]}
    found = permissions.try_permissions(moto_api, image=image, instance_type="m7i.large", **where)
    allowed = {one.action for one in found if one.allowed}
    assert {"ec2:RunInstances", "ec2:CreateSecurityGroup"} <= allowed
    assert ec2.describe_instances()["Reservations"] == []
    assert {one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]} == {"default"}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
