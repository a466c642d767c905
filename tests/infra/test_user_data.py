"""What a host does first: the lease script is run for real, with a systemd-run that writes down what it was told."""

import base64
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from infra.user_data import cloud_config, lease_script, public_part

LEASE_S = 7200


@pytest.fixture
def timer(tmp_path: Path) -> Path:
    """A systemd-run on PATH whose arguments land in this file."""
    program = tmp_path / "bin/systemd-run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
    program.chmod(0o755)
    return tmp_path / "told"


def boot(timer: Path) -> int:
    """Run the script as cloud-init would; the seconds after which the host would be powered off."""
    book = timer.parent / "var/lib/lease-end"
    path = f"{timer.parent}/bin:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", lease_script(LEASE_S, str(book))], check=True, env={"PATH": path})
    told = timer.read_text().split()
    assert told[-2:] == ["systemctl", "poweroff"]
    assert {"--no-block", "--timer-property=DefaultDependencies=no", "--property=DefaultDependencies=no"} <= set(told)
    (active,) = (int(word.partition("=")[2]) for word in told if word.startswith("--on-active="))
    return active


def test_the_first_boot_arms_the_whole_lease(timer: Path) -> None:
    assert boot(timer) == LEASE_S


def test_a_reboot_arms_what_is_left(timer: Path) -> None:
    boot(timer)
    book = timer.parent / "var/lib/lease-end"
    book.write_text(f"{int(time.time()) + 600}\n")
    assert 598 <= boot(timer) <= 600


@pytest.mark.parametrize(("end", "armed"), [("1", 60), (str(10**12), LEASE_S)])
def test_a_clock_that_is_wrong_makes_no_lease_endless_and_none_too_short(timer: Path, end: str, armed: int) -> None:
    boot(timer)
    (timer.parent / "var/lib/lease-end").write_text(end)
    assert boot(timer) == armed


def test_cloud_init_reads_it_as_yaml(host_key: str) -> None:
    text = cloud_config(host_key, 90)
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_part(host_key)},
        "bootcmd": [["sh", "-c", lease_script(5400)]],
    }
    assert len(text) < 16384  # EC2's limit


@pytest.mark.programs
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_public_part_is_what_ssh_keygen_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True)
    assert public_part(path.read_text()) == path.with_suffix(".pub").read_text().strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + base64.b64encode(b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01\0\0\xff\xff").decode()
        + "\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_other_text_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="OpenSSH private key"):
        public_part(text)
