"""Make the seed from which cloud-init configures a lab guest: the user data of an EC2 host, and a key for its login.

The seed's form is that of cloud-init's NoCloud data source: `user-data` and `meta-data` under one URL, which the guest
finds in its firmware's serial number (cloud-init's documentation, "NoCloud").
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.benches.lab.parts.command_line import CLOUD_SERVER
from harness.benches.lab.truths.truth_model import Image

LOGIN_USER = "admin"  # lab/image-cloud/root/etc/cloud/cloud.cfg.d
SEED_PORT = 8080  # lab/cloud_server
LEASE_MINUTES = 24 * 60
"""The lease of a lab guest's user data. A run releases its guest much earlier."""

_EMPTY = {"vendor-data": "", "network-config": ""}
"""Further files of a seed. cloud-init asks ten times for each that is absent."""


def serial_number(image: Image) -> str:
    """Name the seed in a guest's serial number. cloud-init 24.1 and newer names the data source differently."""
    source = "nocloud-net" if image is Image.DEBIAN_12 else "nocloud"
    return f"ds={source};s=http://[{CLOUD_SERVER}]:{SEED_PORT}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSeed:
    """The user data of a guest, and the public key with which its login user is entered."""

    user_data: str
    public_key: str

    def write(self, folder: Path, *, instance_id: str, hostname: str) -> tuple[Path, ...]:
        """Write the files of the seed and return them. A new `instance_id` lets cloud-init configure a copied disk."""
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # its parent is private
        meta_data = {"instance-id": instance_id, "local-hostname": hostname, "public-keys": [self.public_key.strip()]}
        texts = {"user-data": self.user_data, "meta-data": json.dumps(meta_data, indent=1) + "\n", **_EMPTY}
        for name, text in texts.items():
            (folder / name).write_text(text)
        return tuple(folder / name for name in texts)


def make_ec2_user_data(assets: Path, host_key: str) -> str:
    """Make the user data that an EC2 host with this private host key gets from the infrastructure program."""
    return str(_load(assets / "infra/user_data.py").cloud_config(host_key, LEASE_MINUTES))


def _load(path: Path) -> ModuleType:
    """Import a module of the infrastructure program, which is not a part of this package."""
    spec = importlib.util.spec_from_file_location(f"infra_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
