"""What a host does first: the lease script is run for real, with a systemd-run that writes down what it was told."""

import base64
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from harness.model.lease import boot_script, extension_script
from infra.user_data import cloud_config, public_part

LEASE_S = 7200


@pytest.fixture
def timer(tmp_path: Path) -> Path:
    """A systemd-run on PATH whose arguments land in this file."""
    program = tmp_path / "bin/systemd-run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    program.chmod(0o755)
    return tmp_path / "told"


def boot(timer: Path) -> int:
    """Run the script as cloud-init would; the seconds after which the host would be powered off."""
    book = timer.parent / "var/lib/lease-end"
    return run(boot_script(LEASE_S, str(book)), timer)


def run(script: str, timer: Path) -> int:
    """Run a script; the seconds after which the host would be powered off, ten minutes after a warning."""
    timer.unlink(missing_ok=True)
    path = f"{timer.parent}/bin:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", script], check=True, env={"PATH": path})
    power_off, *warning = (line.split() for line in timer.read_text().splitlines())
    assert power_off[-2:] == ["systemctl", "poweroff"]
    assert "--unit=ptp-harness-lease" in power_off
    for told in (power_off, *warning):
        assert {"--no-block", "--timer-property=DefaultDependencies=no", "--property=DefaultDependencies=no"} <= {*told}
    active, *warned = (
        int(word.partition("=")[2])
        for told in (power_off, *warning)
        for word in told
        if word.startswith("--on-active=")
    )
    assert warned == ([active - 600] if active > 600 else [])
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


def test_a_lease_that_was_extended_outlasts_a_reboot(timer: Path) -> None:
    boot(timer)
    book = timer.parent / "var/lib/lease-end"
    stopped = timer.parent / "bin/systemctl"
    stopped.write_text("#!/bin/sh\nexit 5\n")  # no such unit: the host was made without a timer, as in the lab
    stopped.chmod(0o755)
    assert run(extension_script(8 * 3600, str(book)), timer) == 8 * 3600
    assert 8 * 3600 - 2 <= boot(timer) <= 8 * 3600
    assert run(extension_script(300, str(book)), timer) == 300
    assert 298 <= boot(timer) <= 300


def test_cloud_init_reads_it_as_yaml(host_key: str) -> None:
    text = cloud_config(host_key, 90)
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_part(host_key)},
        "bootcmd": [["sh", "-c", boot_script(5400)]],
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
