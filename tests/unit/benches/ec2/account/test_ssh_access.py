"""The way in: SSH, or a session where nobody may connect."""

from harness.benches.ec2.account import ssh_access
from harness.model.ec2_enums import Access


def test_session_manager_is_the_way_where_nobody_may_connect() -> None:
    assert ssh_access.ssh_options(Access.SSH, "i-1", "eu-north-1") == ()
    option, way = ssh_access.ssh_options(Access.SSM, "i-1", "eu-north-1")
    assert option == "-o"
    assert way.startswith("ProxyCommand=aws ssm start-session --region eu-north-1 --target i-1 ")
