"""Do the roles get a machine's own variables, and the time that it needs to come back?"""

from dataclasses import replace

import pytest

from harness.benches.ec2.account import ssh_access
from harness.host.playbooks import role_variables
from harness.model import Machine
from harness.model.ec2_enums import Access

TIMEOUT = "ena_driver_return_timeout_s"


def test_a_host_that_is_reached_directly_has_the_role_s_own_time_to_return(silent_machine: Machine) -> None:
    assert role_variables(silent_machine) == {}


@pytest.mark.parametrize(("boots_within_s", "seconds"), [(180.0, 420), (900.0, 900)])
def test_behind_session_manager_the_agent_has_time_to_register_again(
    silent_machine: Machine, boots_within_s: float, seconds: int
) -> None:
    options = ssh_access.ssh_options(Access.SSM, "i-0123456789abcdef0", "eu-north-1")
    machine = replace(silent_machine, ssh_options=options, boots_within_s=boots_within_s)
    assert role_variables(machine) == {TIMEOUT: seconds}


def test_bare_metal_has_the_time_that_its_boot_takes(silent_machine: Machine) -> None:
    assert role_variables(replace(silent_machine, boots_within_s=900.0)) == {TIMEOUT: 900}


def test_what_an_inventory_says_goes_before(silent_machine: Machine) -> None:
    machine = replace(
        silent_machine, boots_within_s=900.0, role_variables={TIMEOUT: 30}, second_opinion="127.0.0.1 123"
    )
    assert role_variables(machine)[TIMEOUT] == 30
