"""What goes wrong around EC2, as somebody meets it who calls the command: one sentence, what to do, and nothing made.

The account is moto's, with what `tests/doubles` adds; where AWS itself refuses, a server answers with its own words.
Nothing here needs Pulumi's engine: no stack is begun.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.doubles import rehearsal

pytestmark = pytest.mark.programs

REGION = "me-south-1"  # with the fewest types
MINE = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
REFUSED = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>
<RequestID>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestID></Response>"""
"""An error of EC2's Query API, as its reference shows it (Error codes for the Amazon EC2 API)."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account, what stands in it, and a command that looks at it."""

    endpoint: str
    folder: Path
    ec2: Any
    names: dict[str, str] = field(default_factory=dict)

    def call(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        ours = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "PTP_HARNESS_STATE_DIR": str(self.folder / "state"),
            "PTP_HARNESS_CACHE_DIR": str(self.folder / "cache"),
            "PTP_HARNESS_PULUMI": pulumi(self.folder / "bin/pulumi", "v3.259.0"),
            "PULUMI_DEBUG_PROVIDERS": "aws:9",  # so that no plugin is fetched
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
        argv = [sys.executable, "-m", "harness", *words]
        env |= MINE | ours | environ
        return subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, timeout=300)

    def campaign(
        self, instance_type: str = "m5.large", image: str = "debian-12", placement: str = "auto", **ec2: str
    ) -> str:
        told = {"controller_cidr": "127.0.0.1/32"} | ec2
        words = "".join(f"  {name}: {value}\n" for name, value in told.items())
        path = self.folder / "campaign.yaml"
        path.write_text(
            f"bench: ec2\nregion: {REGION}\ninstance_types: [{instance_type}]\nimage: {image}\n"
            f"placement: {placement}\nec2:\n{words}"
        )
        return str(path)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account whose default network leads to the internet, and another network that does not."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | MINE
    with rehearsal.serve_double("ec2_server.py", environ=environ) as port:
        words: dict[str, Any] = {
            "aws_access_key_id": "a",
            "aws_secret_access_key": "b",
            "endpoint_url": f"http://127.0.0.1:{port}",
            "config": Config(read_timeout=300, retries={"total_max_attempts": 1}),  # moto takes long to begin
        }
        ec2 = boto3.client("ec2", REGION, **words)
        arm = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])["Images"][0]["ImageId"]
        vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        inner = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.1.0/24")["Subnet"]["SubnetId"]
        names = {"arm image": arm, "inner subnet": inner}
        yield Account(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("account"), ec2, names)


def pulumi(command: Path, version: str) -> str:
    """A command that answers as pulumi does."""
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\necho '{version}'\n")
    command.chmod(0o755)
    return str(command)


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """The address of a server on this machine that answers every question so."""

    class Always(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_words: object) -> None:
            """Nobody listens."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Always) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def refused(account: Account, done: "subprocess.CompletedProcess[str]") -> tuple[str, str]:
    """What was wrong, and what to do: two lines and no more. Nothing was made, here or there."""
    *news, what, following = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    expected = ("preparing: ", "ptp-harness: 1 mistake in campaign ")
    assert [line for line in news if not line.startswith(expected)] == []
    assert what.startswith("ptp-harness: ") or (news[-1].endswith("campaign.yaml") and "/campaign.yaml:" in what)
    assert following.startswith("  next: ")
    nothing(account)
    return what.removeprefix("ptp-harness: "), following.removeprefix("  next: ")


def nothing(account: Account) -> None:
    """No record, key nor stack, and an account as empty as before."""
    for name in ("hosts", "keys", "stacks"):
        folder = account.folder / "state/ec2" / name
        assert not folder.exists() or list(folder.iterdir()) == [], folder
    assert account.ec2.describe_instances()["Reservations"] == []
    assert account.ec2.describe_key_pairs()["KeyPairs"] == []


TYPES = "cannot ask for the types of"
LISTING = "listing what the zones offer"


@pytest.mark.parametrize(
    ("verb", "status", "code", "message", "following"),
    [
        ("run", 400, "RequestExpired", "Request has expired.", "log in again (`aws sso login`, or new temporary keys)"),
        (
            "run",
            401,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
            "the keys are wrong, or the Region is an opt-in one that this account has not enabled",
        ),
        (
            "plan",
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
            "docs/iam-policy.json lists every permission that is needed",
        ),
        (
            "plan",
            403,
            "OptInRequired",
            "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.",
            "enable the Region",
        ),
    ],
    ids=["expired", "a Region that is not enabled", "no permission", "not subscribed"],
)
def test_what_aws_refuses(account: Account, verb: str, status: int, code: str, message: str, following: str) -> None:
    with answering(status, REFUSED.format(code=code, message=message)) as there:
        what, then = refused(account, account.call(verb, account.campaign(), AWS_ENDPOINT_URL=there))
    assert what == f"{TYPES} {REGION}: {LISTING}: {code}: {message}"
    assert following in then


NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
AWS_CLI = "`aws configure`, AWS_PROFILE, or a role"


@pytest.mark.parametrize(
    ("words", "environ", "what", "following"),
    [
        (
            ["--region", REGION],
            NO_KEYS | NOWHERE,
            f"{TYPES} {REGION}: {LISTING}: there are no AWS credentials",
            AWS_CLI,
        ),
        (["--bench", "ec2"], {}, "no Region is known", "--region NAME, `region:` in the campaign, or AWS_REGION"),
        (["--region", "eu-nroth-1"], NOWHERE, "AWS in eu-nroth-1 does not answer", "name right (nearest: eu-north-1"),
        (["--region", "eu north 1"], {}, "--region: is 'eu north 1'; write a Region such as eu-north-1", "run --help"),
        (
            ["--region", REGION],
            {"AWS_ENDPOINT_URL": "there", "PTP_HARNESS_CACHE_DIR": "fresh"},
            "reading the AWS settings: Invalid endpoint: there",
            "doctor --bench ec2",
        ),
        (
            ["--region", REGION],
            {"AWS_ENDPOINT_URL": "", "HTTPS_PROXY": "http://127.0.0.1:9"},
            "Failed to connect to proxy URL",
            "is the proxy right that HTTPS_PROXY names?",
        ),
        (["--region", REGION], {"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be", "list-profiles"),
    ],
    ids=["no credentials", "no Region", "misspelt", "no name", "no endpoint", "no proxy", "no profile"],
)
def test_who_cannot_even_ask(
    account: Account, words: list[str], environ: Mapping[str, str], what: str, following: str
) -> None:
    said, then = refused(account, account.call("run", "m5.large", *words, **environ))
    assert what in said
    assert following in then


@pytest.mark.parametrize(
    ("told", "what", "following"),
    [
        ({"instance_type": "m99.huge"}, "there is no type 'm99.huge' on bench ec2", "there are"),
        (
            {"subnet": "subnet-0123456789abcdef0"},
            f"{REGION} has no subnet subnet-0123456789abcdef0 in this account",
            "`aws ec2 describe-subnets` lists them",
        ),
        (
            {"subnet": "inner subnet"},
            "no way leads from here to a host by SSH: {subnet}: its route table leads to no internet gateway",
            "name a public subnet (`subnet: subnet-...`), or use Session Manager (`access: ssm`)",
        ),
        (
            {"zones": f"[{REGION}z]"},
            f"no subnet stands in {REGION}z; there is subnet-",
            "correct `zones:` or `subnet:`",
        ),
        (
            {"image": "arm image"},
            "the image {image} is for arm64, and the type's architecture is x86_64",
            "choose another `image:`, or types that fit it",
        ),
        (
            {"image": "ami-0123456789abcdef0"},
            f"{REGION} has no image ami-0123456789abcdef0, or this account may not see it",
            "an image's id is of one Region",
        ),
        ({"image": "al2022"}, "there is no image 'al2022'", "nearest: al2023"),
        ({"placement": "group:mine"}, f"{REGION} has no placement group 'mine'", "or one of auto"),
    ],
    ids=["type", "subnet", "no way in", "zone", "architecture", "image", "image's name", "group"],
)
def test_what_the_account_has_not(account: Account, told: dict[str, str], what: str, following: str) -> None:
    known = {key: account.names.get(value, value) for key, value in told.items()}
    said, then = refused(account, account.call("run", account.campaign(**known)))
    assert what.format(**known) in said
    assert following in then


@pytest.mark.parametrize(
    ("command", "version", "what"),
    [
        ("nowhere/pulumi", None, "nowhere/pulumi is not installed: the ec2 bench needs it"),
        ("old/pulumi", "v3.205.9", "old/pulumi is v3.205.9, and 3.206.0 is the least"),
        ("new/pulumi-3", "v3.259.0", "new/pulumi-3 is not named pulumi"),
    ],
    ids=["missing", "too old", "by another name"],
)
def test_pulumi(account: Account, command: str, version: str | None, what: str) -> None:
    path = account.folder / command
    if version is not None:
        pulumi(path, version)
    said, then = refused(account, account.call("run", account.campaign(), PTP_HARNESS_PULUMI=str(path)))
    assert what in said
    assert "PTP_HARNESS_PULUMI" in then


def test_a_type_that_the_named_zone_has_not_gets_its_verdict(account: Account) -> None:
    zones = [f"{REGION}{letter}" for letter in "abc"]
    pages = account.ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone")
    offers = {(one["InstanceType"], one["Location"]) for page in pages for one in page["InstanceTypeOfferings"]}
    types = sorted({name for name, _ in offers})
    name, zone = next((name, zone) for name in types for zone in zones if (name, zone) not in offers)
    done = account.call("run", account.campaign(name, zones=f"[{zone}]"), "--json")
    (host,) = json.loads(done.stdout)["hosts"]
    assert (done.returncode, host["outcome"], host["reason"], host["state"]) == (
        3,
        "UNSUPPORTED",
        "not_offered",
        "released",
    ), done.stderr
    assert f"{zone} does not offer {name}; {REGION}" in host["sentence"]
    assert "Traceback" not in done.stderr
    nothing(account)


def test_a_quota_of_zero_is_told_by_the_plan(account: Account) -> None:
    body = '{"Quota": {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A", "Value": 0.0}}'
    with answering(200, body) as there:
        done = account.call("plan", account.campaign(), AWS_ENDPOINT_URL_SERVICE_QUOTAS=there)
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: quota")]
    assert done.returncode == 0, done.stderr
    assert warned == [
        "warning: quota Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (L-1216C47A) allows 0 vCPUs, "
        "too few for m5.large"
    ]


@pytest.mark.parametrize(
    ("words", "what", "following"),
    [
        (
            ["bake", "m5.large", "m5.xlarge", "--region", REGION],
            "one image is made for each architecture, and m5.large and m5.xlarge are all x86_64",
            "name one of them",
        ),
        (
            ["bake", "m5.large", "--region", REGION, "--name", "My image"],
            "'My image' cannot name an image",
            "up to 63 of a-z, 0-9",
        ),
        (
            ["bake", "m5.large", "--region", REGION, "--image", "baked:debian-12"],
            f"{REGION} has no proven image baked:debian-12 for x86_64",
            "`ptp-harness image bake` makes one; there are none",
        ),
        (
            ["delete", "baked:debian-12", "ami-0123456789abcdef0", "--region", REGION],
            f"{REGION} has no baked image baked:debian-12, ami-0123456789abcdef0",
            "there are none",
        ),
        (["list"], "no Region is known", "AWS_REGION"),
    ],
    ids=["two of one kind", "name", "not baked", "not ours", "no Region"],
)
def test_images_of_ours(account: Account, words: list[str], what: str, following: str) -> None:
    said, then = refused(account, account.call("image", *words))
    assert what in said
    assert following in then


def test_a_spot_instance_is_not_baked(account: Account) -> None:
    said, then = refused(account, account.call("image", "bake", account.campaign(market="spot")))
    assert (said, then) == (
        "a spot instance cannot be stopped for its disk to be copied",
        "bake with `market: on-demand`",
    )


def test_an_account_without_images_of_ours_says_so(account: Account) -> None:
    done = account.call("image", "list", "--region", REGION, "--json")
    assert (done.returncode, json.loads(done.stdout)["images"]) == (0, [])
    listed = account.call("image", "list", "--region", REGION)
    assert (listed.stdout, listed.stderr) == ("", f"no baked images in {REGION}; `ptp-harness image bake` makes one\n")
