"""The way in: one address, and patience by kind of host."""

import pytest

from harness.benches.ec2.account import ssh_access
from harness.model.ec2_enums import Access


@pytest.mark.parametrize(
    ("instance_type", "seconds"), [("m7i.large", 180), ("m7i.metal-24xl", 900), ("c5n.metal", 900)]
)
def test_bare_metal_takes_its_time(instance_type: str, seconds: float) -> None:
    assert ssh_access.boots_within_s(instance_type) == seconds


def test_session_manager_is_the_way_where_nobody_may_connect() -> None:
    assert ssh_access.ssh_options(Access.SSH, "i-1", "eu-north-1") == ()
    option, way = ssh_access.ssh_options(Access.SSM, "i-1", "eu-north-1")
    assert option == "-o"
    assert way.startswith("ProxyCommand=aws ssm start-session --region eu-north-1 --target i-1 ")
