"""`lab inventory` prints hosts that run, so that the bench of own machines and Ansible find them."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.host import keys
from harness.model import Token
from harness.system.proc import ProcessId, identify

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(call: Call) -> Call:
    return call


@pytest.fixture
def records(tmp_path: Path) -> GuestRecords:
    """Records of two hosts of `lab up`, of two hosts of one name of a pool, and of a host that no longer runs."""
    records = GuestRecords(tmp_path / "state" / "lab" / "hosts")
    alive, dead = identify(os.getpid()), ProcessId(pid=2**22, start_ticks=1)
    assert alive is not None
    tokens = [("lab", "lab.phc"), ("lab", "lab.phc-2"), ("poola", "lab.phc"), ("poolb", "lab.phc"), ("lab", "gone")]
    for number, (run, host) in enumerate(tokens, 1):
        token = Token(run=run, host=host)
        record = GuestRecord(
            token=token,
            instance_type="lab.phc",
            folder=records.folder(token),
            sockets=tmp_path,
            intent="",
            created_utc=f"2026-11-28T00:00:0{number}",
            mac="02:00:00:00:00:01",
            processes={"guest": dead if host == "gone" else alive},
            address=f"127.0.7.{number}",
            port=22,
            second_opinion="10.0.2.123 123",
            ready=True,
        )
        records.begin(record)
        keys.generate(record.host_key, "host")
    return records


def hosts(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, object]]:
    assert (done.returncode, done.stderr) == (0, "")
    return dict(yaml.safe_load(done.stdout)["all"]["hosts"])


def test_running_lab_hosts_can_be_reached_by_the_inventory(call: Call, records: GuestRecords) -> None:
    listed = hosts(call("lab", "inventory"))
    assert list(listed) == ["lab-lab.phc-1", "lab.phc-2", "poola-lab.phc-1", "poolb-lab.phc-1"]
    folder = records.folder(Token(run="lab", host="lab.phc-2"))
    variables = listed["lab.phc-2"]
    assert variables["ansible_host"] == "127.0.7.2"
    assert variables["ansible_ssh_private_key_file"] == str(folder / "user_key")
    assert variables["chrony_phc_second_opinion_address"] == "10.0.2.123"
    pinned = Path(str(variables["ptp_harness_known_hosts"])).read_text()
    assert pinned == f"127.0.7.2 {keys.read_public_key(folder / 'host_key')}\n"


def test_hosts_are_chosen_by_name_and_by_run(call: Call, records: GuestRecords) -> None:
    assert list(hosts(call("lab", "inventory", "poolb"))) == ["lab.phc"]
    assert list(hosts(call("lab", "inventory", "lab.phc-2", "poolb/lab.phc/1"))) == ["lab.phc-2", "lab.phc"]
    unknown = call("lab", "inventory", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no lab host 'nobody'" in unknown.stderr


def test_the_bench_of_own_machines_takes_the_inventory(call: Call, records: GuestRecords, tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(call("lab", "inventory").stdout)
    made = json.loads(call("plan", "--inventory", "hosts.yaml", "all", "--json").stdout)
    assert [host["name"] for host in made["hosts"]][1] == "lab.phc-2"
