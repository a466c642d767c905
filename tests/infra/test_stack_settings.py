"""Settings: each that cannot be is named, all of them at once, with what to do; and what an empty one means."""

import http.server
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.defaults import host_key, own_address, public_key
from infra.stack_settings import KEYS, ProgramSettings, SettingsError, read

from .conftest import Program

ROOT = Path(__file__).parents[2]


def test_pulumi_yaml_describes_every_setting_that_the_program_reads(project: Mapping[str, Any]) -> None:
    described = {key: each for key, each in project["config"].items() if ":" not in key}
    assert set(described) == set(KEYS.values())
    assert [key for key, each in described.items() if "default" not in each] == ["instanceType"]
    assert all(each["description"] and each["type"] in ("string", "integer") for each in described.values())


def test_a_key_never_shows(complete: Mapping[str, str], project: Mapping[str, Any]) -> None:
    values = {key: str(each.get("default", "")) for key, each in project["config"].items()} | complete
    settings = read(values.get, region="eu-north-1")
    assert isinstance(settings, ProgramSettings)
    assert len(fields(settings)) == len(KEYS) + 1
    assert complete["hostKey"].splitlines()[1] not in repr(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("instanceType", ""),
        ("instanceType", "m7i"),
        ("instanceType", "m7i.large; rm"),
        ("image", "windows"),
        ("image", "ami-XYZ"),
        ("placement", "spread"),
        ("placement", "group:"),
        ("access", "telnet"),
        ("market", "cheap"),
        ("controllerCidr", "0.0.0.0/0"),
        ("controllerCidr", "10.0.0.0/15"),
        ("controllerCidr", "192.0.2.7/24"),
        ("controllerCidr", "192.0.2.0/255.255.255.0"),
        ("controllerCidr", "192.0.2.7"),
        ("controllerCidr", "192.0.2.7/32,"),
        ("controllerCidr", ",".join(f"192.0.2.{number}/32" for number in range(17))),
        ("controllerCidr", "2001:db8::1/128"),
        ("subnetId", "vpc-1"),
        ("hostKey", "-----BEGIN RSA PRIVATE KEY-----"),
        ("publicKey", "AAAA"),
        ("publicKey", "ecdsa-sha2-nistp256 AAAA controller"),
        ("publicKey", "sk-ssh-ed25519@openssh.com AAAA controller"),
        ("volumeGib", "7"),
        ("volumeGib", "16385"),
        ("volumeGib", "12.5"),
        ("leaseMinutes", "0"),
        ("leaseMinutes", "-1"),
        ("expires", "tomorrow"),
        ("run", "a\tb"),
        ("owner", "x" * 257),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(run_program: Program, key: str, value: str) -> None:
    with pytest.raises(pulumi.RunError, match=rf"^{key}: .* is not .*; set it with `pulumi config set {key} VALUE`$"):
        run_program(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"), [("volumeGib", "8"), ("volumeGib", "16384"), ("leaseMinutes", "1"), ("leaseMinutes", "43200")]
)
def test_the_last_that_fits(run_program: Program, key: str, value: str) -> None:
    assert run_program(**{key: value}).resources


def test_all_mistakes_are_named_at_once(run_program: Program) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        run_program(region=None, access="telnet", market="cheap")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["no Region is set", "access", "market"]


def test_the_first_key_that_ssh_would_offer_is_taken(tmp_path: Path) -> None:
    (tmp_path / "id_rsa.pub").write_text("ssh-rsa AAAA old\n")
    assert public_key(tmp_path) == "ssh-rsa AAAA old"
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA new\n")
    assert public_key(tmp_path) == "ssh-ed25519 AAAA new"


def test_a_key_that_ec2_does_not_import_is_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "id_ecdsa.pub").write_text("ecdsa-sha2-nistp256 AAAA\n")
    with pytest.raises(
        SettingsError, match=r"id_ecdsa\.pub cannot be used, since EC2 imports RSA and ED25519 keys only"
    ):
        public_key(tmp_path)
    (tmp_path / "id_rsa.pub").write_text("ssh-rsa AAAA old\n")
    assert public_key(tmp_path) == "ssh-rsa AAAA old"


def test_without_a_key_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"is in {tmp_path}: make one with `ssh-keygen -t ed25519`")):
        public_key(tmp_path)


def test_a_stack_s_host_key_is_made_once_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys/m7i.large"
    first = host_key(path)
    assert first.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert host_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def says(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every request with the parameter's text."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("says", ["192.0.2.7\n"], indirect=True)
def test_our_own_address_is_a_network_of_one(says: str) -> None:
    assert own_address(says) == "192.0.2.7/32"


@pytest.mark.parametrize("says", ["<html>log in to the hotel's network", "2001:db8::1", "0.0.0.0/0", ""], indirect=True)
def test_what_is_no_address_opens_nothing(says: str) -> None:
    with pytest.raises(SettingsError, match="which is no IPv4 address; say it: `pulumi config set controllerCidr"):
        own_address(says)


def test_without_a_network_it_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match=r"does not say our address \(.*refused.*\); say it"):
        own_address("http://127.0.0.1:1")


def test_the_documentation_s_table_is_what_pulumi_yaml_says(project: Mapping[str, Any]) -> None:
    page = (ROOT / "docs/ec2.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (?:`(.*?)`)? ?\| (.+) \|$", page, re.MULTILINE)
    assert rows == [
        (key, each["type"], str(each.get("default", "")), each["description"])
        for key, each in project["config"].items()
        if ":" not in key
    ]
