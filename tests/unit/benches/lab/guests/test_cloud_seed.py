"""The seed of a cloud guest: an EC2 host's user data, and what cloud-init takes for meta data."""

import json
from pathlib import Path

from harness.benches.lab.guests import cloud_seed
from harness.benches.lab.guests.cloud_seed import CloudSeed
from harness.host import keys
from infra import user_data

ROOT = Path(__file__).parents[5]


def test_the_user_data_is_what_the_infrastructure_program_makes(tmp_path: Path) -> None:
    keys.generate(tmp_path / "key", "host")
    host_key = (tmp_path / "key").read_text()
    made = cloud_seed.make_ec2_user_data(ROOT, host_key)
    assert made == user_data.cloud_config(host_key, cloud_seed.LEASE_MINUTES)
    assert made.startswith("#cloud-config\n")


def test_the_files_of_a_seed(tmp_path: Path) -> None:
    seed = CloudSeed(user_data="#cloud-config\n{}\n", public_key="ssh-ed25519 AAAA name\n")
    files = seed.write(tmp_path / "seed", instance_id="abcd-1", hostname="lab-host")
    assert [file.name for file in files] == ["user-data", "meta-data", "vendor-data", "network-config"]
    assert files[0].read_text() == "#cloud-config\n{}\n"
    assert json.loads(files[1].read_text()) == {
        "instance-id": "abcd-1",
        "local-hostname": "lab-host",
        "public-keys": ["ssh-ed25519 AAAA name"],
    }
