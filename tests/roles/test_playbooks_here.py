"""Do the playbooks that change nothing run on this very machine, and does the configuration of chrony hold?"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from harness.probes import samples

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]


def _play(name: str, variables: dict[str, Any], *flags: str) -> str:
    """Run a playbook over a local connection; what ansible-playbook printed."""
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local",
        "-e", json.dumps({"ansible_python_interpreter": sys.executable} | variables),
        *flags, str(CHECKOUT / "playbooks" / name),
    ]  # fmt: skip
    env = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_observing_changes_nothing_and_writes_the_facts_here(tmp_path: Path) -> None:
    variables = {"clock_facts_dest": str(tmp_path / "facts.json"), "clock_facts_ntp_servers": ["127.0.0.1:1"]}
    said = _play("observe.yml", variables)
    # The one change is our file on this side.
    assert re.search(r"localhost +: ok=7 +changed=1 ", said), said
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["captures"]["uname"]["rc"] == 0


def test_sampling_waits_and_brings_the_samples_home(tmp_path: Path) -> None:
    variables = {
        "clock_facts_duration_s": 2,
        "clock_facts_samples_path": str(tmp_path / "there.jsonl"),
        "clock_facts_dest": str(tmp_path / "here.jsonl"),
    }
    _play("measure.yml", variables)
    taken, unparsed, slots = samples.read_samples((tmp_path / "here.jsonl").read_text(), where="here.jsonl")
    assert (len(taken), unparsed, slots) == (2, (), 2)


def test_a_role_of_this_checkout_finds_what_its_module_shares_with_others(tmp_path: Path) -> None:
    tasks = [{"ansible.builtin.include_role": {"name": "chrony_phc"}}]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    said = _play(str(tmp_path / "play.yml"), {"chrony_phc_device": "/dev/no_such_clock"}, "--check")
    assert "TASK [chrony_phc : Let chrony follow the clock]" in said
    assert "failed=0" in said


def test_a_variable_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match="value of clock_facts_mode must be one of: collect, sample, stop, got: judge"
    ):
        _play("observe.yml", {"clock_facts_mode": "judge"})


def _chrony_conf(changes: dict[str, object]) -> str:
    role = CHECKOUT / "roles/chrony_phc"
    variables = yaml.safe_load((role / "defaults/main.yml").read_text())
    variables["__chrony_phc_managed"] = yaml.safe_load((role / "vars/main.yml").read_text())["__chrony_phc_managed"]
    variables |= yaml.safe_load((role / "vars/debian.yml").read_text())
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    variables["chrony_phc_device"] = environment.from_string(variables["chrony_phc_device"]).render(variables | changes)
    return environment.from_string((role / "templates/chrony.conf.j2").read_text()).render(variables | changes)


def _accepted(text: str, tmp_path: Path) -> bool:
    chronyd = shutil.which("chronyd", path=f"{os.environ['PATH']}:/usr/sbin")
    if chronyd is None:
        pytest.skip("chronyd is not installed on this machine")
    (tmp_path / "chrony.conf").write_text(text)
    return (
        subprocess.run(
            [chronyd, "-p", "-f", str(tmp_path / "chrony.conf")], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_chronyd_accepts_its_configuration(tmp_path: Path) -> None:
    assert _accepted(_chrony_conf({}), tmp_path)


def test_chronyd_would_refuse_a_wrong_one(tmp_path: Path) -> None:
    assert not _accepted(_chrony_conf({"chrony_phc_poll": "often"}), tmp_path)


def test_the_clock_is_preferred_and_the_second_opinion_is_never_followed() -> None:
    lines = [line for line in _chrony_conf({}).splitlines() if line and not line.startswith("#")]
    assert lines == [
        "refclock PHC /dev/ptp_ena poll 0 dpoll 0 delay 0.000010000 prefer",
        "server 169.254.169.123 port 123 iburst minpoll 4 maxpoll 4 noselect",
        "maxclockerror 1",
        "makestep 0.1 3",
        "driftfile /var/lib/chrony/chrony.drift",
        "rtcsync",
    ]


def test_no_reading_interval_that_can_be_asked_for_breaks_the_clocks_budget() -> None:
    """An ENA clock allows 125 readings a second; chrony takes 25 per interval, the sampler 5 a second."""
    spec = yaml.safe_load((CHECKOUT / "roles/chrony_phc/meta/argument_specs.yml").read_text())
    fastest = min(spec["argument_specs"]["main"]["options"]["chrony_phc_dpoll"]["choices"])
    assert 25 * 2**-fastest + 5 <= 125
    assert 25 * 2 ** -(fastest - 1) + 5 > 125
