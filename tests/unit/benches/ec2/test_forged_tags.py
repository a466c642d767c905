"""Whoever may tag can write anything on anybody's things: a sweep ends none of them, and still ends what is ours.

Against moto's server with EC2's own wildcards in filters. Honest resources are made as the Pulumi program makes them:
with the signed name of their host's record, and its tags.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from click.testing import Result
from typer.testing import CliRunner

from harness.benches.ec2.account import resource_removal, tagged_resources
from harness.benches.ec2.account.tagged_resources import EXPIRES, RUN, TOKEN
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.instances.launch_records import LaunchRecord
from harness.cli.app import app
from harness.errors import ExitCode
from harness.model import HostState, RunRecord, Token
from harness.model.cloud import CloudOptions
from harness.runs import leftovers
from harness.store.ledger import Ledger
from harness.system import settings
from harness.untrusted.plain_text import printable
from tests.doubles import ec2_server

REGION, OTHER_REGION = "eu-north-1", "us-east-1"
PAST, FUTURE = "2026-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@dataclass(frozen=True, slots=True)
class Account:
    """An account in which others have things too. `folder` is the state directory of the controller that sweeps."""

    ec2: Any
    folder: Path

    def bench(self, folder: Path | None = None, **options: Any) -> Ec2Bench:
        ours = replace(settings.load(), state_dir=folder or self.folder, signing_key=None)
        return Ec2Bench(ours, CloudOptions(region=REGION, **options))

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/ledger.sqlite")

    def make(self, name: str, tags: Mapping[str, str]) -> set[str]:
        """A host's worth of things of that name, as the program makes them."""

        def told(kind: str) -> list[dict[str, Any]]:
            return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

        ec2 = self.ec2
        ec2.create_placement_group(GroupName=name, Strategy="precision-time", TagSpecifications=told("placement-group"))
        ec2.create_key_pair(KeyName=name, TagSpecifications=told("key-pair"))
        firewall = ec2.create_security_group(GroupName=name, Description="d", TagSpecifications=told("security-group"))[
            "GroupId"
        ]
        instance = ec2.run_instances(
            ImageId="ami-0123456789abcdef0",
            InstanceType="m7i.large",
            MinCount=1,
            MaxCount=1,
            KeyName=name,
            Placement={"GroupName": name},
            SecurityGroupIds=[firewall],
            TagSpecifications=told("instance"),
        )["Instances"][0]["InstanceId"]
        return {instance, name, firewall}

    def disk(self, tags: Mapping[str, str]) -> str:
        told = [{"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
        return str(self.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=told)["VolumeId"])

    def there(self) -> set[str]:
        """The ids and names of all that is in the account, but for what every account has."""
        ec2 = self.ec2
        instances = [each for one in ec2.describe_instances()["Reservations"] for each in one["Instances"]]
        groups = [one for one in ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] != "default"]
        return {
            *(one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"),
            *(one["GroupName"] for one in ec2.describe_placement_groups()["PlacementGroups"]),
            *(one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]),
            *(one["GroupId"] for one in groups),
            *(one["VolumeId"] for one in ec2.describe_volumes()["Volumes"] if not one["Attachments"]),
        }

    def sweep(self, *words: str) -> tuple[int, str]:
        """The command itself: its exit code, and what it says on both outputs."""
        done = self.call("sweep", "--bench", "ec2", "--region", REGION, *words)
        return done.exit_code, done.output

    def call(self, *words: str) -> Result:
        """The command itself, with the state directory of this controller."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PTP_HARNESS_STATE_DIR", str(self.folder))
            return CliRunner().invoke(app, words)


@pytest.fixture
def account(moto_api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Empty at the beginning; moto takes long to begin anew, so that the tests of this file share one."""
    ec2_server.install(set_attribute=partial(monkeypatch.setattr, raising=False))
    monkeypatch.setattr(resource_removal, "LIST_AGAIN_S", (0.1, 0.2, 0.4))  # this EC2 tells at once
    ec2 = boto3.client("ec2", REGION, config=Config(read_timeout=300))
    made = Account(ec2, tmp_path / "state")
    yield made
    for ident in sorted(made.there(), key=lambda ident: not ident.startswith("i-")):  # instances first
        if ident.startswith("i-"):
            ec2.terminate_instances(InstanceIds=[ident])
        elif ident.startswith("sg-"):
            ec2.delete_security_group(GroupId=ident)
        elif ident.startswith("vol-"):
            ec2.delete_volume(VolumeId=ident)
    for group in ec2.describe_placement_groups()["PlacementGroups"]:
        ec2.delete_placement_group(GroupName=group["GroupName"])
    for key in ec2.describe_key_pairs()["KeyPairs"]:
        ec2.delete_key_pair(KeyName=key["KeyName"])


def tags_of(record: LaunchRecord) -> dict[str, str]:
    return {RUN: record.token.run, TOKEN: str(record.token), EXPIRES: record.expires_utc, "ptp-harness:owner": "ada"}


def begun(bench: Ec2Bench, run: str, *, expires: str | None = None) -> LaunchRecord:
    """The record of a host that is about to be launched; with another lease, as one of long ago."""
    record = bench.begin_record(Token(run=run, host="m7i.large"), "m7i.large")
    if expires is None:
        return record
    name = bench.proofs.signer.sign_name(f"ptp-harness-{run}", token=str(record.token), expires=expires)
    return bench.records.write(replace(record, expires_utc=expires, resource_name=name))


def ended_run(account: Account) -> str:
    """A run of our ledger that has closed its books."""
    ledger = account.ledger
    run = ledger.open_run(bench="ec2", campaign={}, hosts={"m7i.large": "m7i.large"})
    ledger.close_run(RunRecord(run=run, bench="ec2", started="", seconds=1, interrupted=True, hosts=(), leftovers=()))
    return run


def orphan(account: Account, run: str, *, recorded: bool = False, expires: str | None = None) -> set[str]:
    """What a controller that was killed left behind, with its record or without."""
    bench = account.bench()
    record = begun(bench, run, expires=expires)
    made = account.make(str(record.resource_name), tags_of(record))
    if not recorded:
        bench.records.forget(record)
    return made


FORGED = {
    "everybody's by wildcards": "*/*/1",
    "one letter each": "????/m7i.large/1",
    "a wildcard in the run": "k*/m7i.large/1",
    "no token at all": "production",
    "an empty one": "",
    "a path": "../../etc/1",
    "a steering character": "\x9b2J\u202ek3f9/m7i.large/1",
    "a run that nobody knows": "zzzz/m7i.large/1",
    "as if a process kept it warm": "pool1x1x0a1b/m7i.large/1",
    "as if made by hand in the lab": "lab/lab.phc/1",
}


LEASES: tuple[dict[str, str], ...] = ({EXPIRES: PAST}, {}, {EXPIRES: "*"})


def test_forged_tokens_end_nothing_and_stop_no_sweep(account: Account) -> None:
    theirs = account.make("staging", {"Name": "others"})
    told: set[str] = set()
    for (what, token), lease in zip(FORGED.items(), cycle(LEASES), strict=False):
        told |= account.make(what, {"Name": "database", TOKEN: token} | lease)
        told.add(account.disk({TOKEN: token} | lease))
    ours = orphan(account, ended_run(account))
    before = account.there()
    code, said = account.sweep()
    assert (code, account.there()) == (ExitCode.LEFT_RUNNING, before), said
    code, said = account.sweep("--yes")
    assert (code, "Traceback" in said, "removed 1, verified" in said) == (0, False, True), said
    assert account.there() == before - ours == theirs | told
    assert [ident for ident in told if ident not in said] == [], "what is left alone is told"
    assert said.count("(left alone: ") == 5 * len(FORGED)
    assert {"\x9b", "\u202e"} & set(said) == set()


def test_every_tag_of_ours_copied_onto_somebody_s_things_ends_none_of_them(account: Account) -> None:
    run = ended_run(account)
    bench = account.bench()
    record = begun(bench, run)
    ours = account.make(str(record.resource_name), tags_of(record))
    instance = next(one for one in ours if one.startswith("i-"))
    bench.records.write(replace(record, intent="runs", instance_id=instance))
    theirs = account.make("production", tags_of(record))
    disk = account.disk(tags_of(record))
    code, said = account.sweep("--yes")
    assert account.there() == theirs | {disk}
    assert code == ExitCode.LEFT_RUNNING, "a thing that names a run of ours and is not ours is worth an alarm"
    assert said.count("(left alone: nothing but tags says that it is ours") == 5
    again = account.bench()
    again.release(record.token)  # nothing of ours there is success
    assert account.there() == theirs | {disk}


def test_a_token_of_another_host_of_ours_on_our_own_host_ends_neither(account: Account) -> None:
    dead, living = ended_run(account), account.ledger.open_run(bench="ec2", campaign={}, hosts={"m7i.large": "x"})
    bench = account.bench()
    record = begun(bench, living)
    ours = account.make(str(record.resource_name), tags_of(record))
    instance = next(one for one in ours if one.startswith("i-"))
    bench.records.write(replace(record, instance_id=instance))
    forged = [{"Key": TOKEN, "Value": f"{dead}/m7i.large/1"}]
    account.ec2.create_tags(Resources=[instance], Tags=forged)
    code, said = account.sweep("--yes")
    assert (code, account.there()) == (ExitCode.LEFT_RUNNING, ours), said
    account.bench().release(Token(run=dead, host="m7i.large"))
    assert account.there() == ours


@pytest.mark.parametrize(
    ("expires", "moved", "gone"),
    [(PAST, None, True), (FUTURE, None, False), (FUTURE, PAST, False), (PAST, "", False)],
    ids=["ended", "goes on", "said to have ended", "taken away"],
)
def test_of_a_run_in_no_ledger_what_is_ours_goes_after_its_lease(
    account: Account, expires: str, moved: str | None, gone: bool
) -> None:
    made = orphan(account, "q2w3", expires=expires)
    instance = next(one for one in made if one.startswith("i-"))
    if moved is not None:
        lease = [{"Key": EXPIRES, "Value": moved}]
        account.ec2.delete_tags(Resources=[instance], Tags=[{"Key": EXPIRES}])
        account.ec2.create_tags(Resources=[instance], Tags=lease if moved else [])
    code, said = account.sweep("--yes")
    if moved is None:
        assert (code, account.there()) == (0, set() if gone else made), said
    else:
        assert instance in account.there(), said
        assert re.search(rf"instance   {instance}  .*\(left alone: ", said)


def test_what_another_controller_left_is_left_to_it_unless_they_share_a_key(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = account.bench(tmp_path / "other")
    record = begun(other, "q2w3", expires=PAST)
    theirs = account.make(str(record.resource_name), tags_of(record))
    code, said = account.sweep("--yes")
    assert (code, account.there()) == (0, theirs)
    firewall = next(one for one in theirs if one.startswith("sg-"))
    assert f"if it is yours: `aws ec2 delete-security-group --group-id {firewall} --region {REGION}`" in said
    monkeypatch.setenv("PTP_HARNESS_SIGNING_KEY", str(tmp_path / "other/ec2/signing-key"))
    code, said = account.sweep("--yes")
    assert (code, account.there()) == (0, set()), said


def test_a_host_of_somebody_else_whose_lease_goes_on_is_not_told(account: Account) -> None:
    theirs = account.make("theirs", {RUN: "q2w3", TOKEN: "q2w3/m7i.large/1", EXPIRES: FUTURE})
    assert account.sweep() == (0, "nothing is left\n")
    assert account.sweep("--yes")[0] == 0
    assert account.there() == theirs


def test_a_name_for_a_person_s_shell_is_quoted(account: Account) -> None:
    account.ec2.create_placement_group(
        GroupName="x; touch pwned",
        Strategy="cluster",
        TagSpecifications=[{"ResourceType": "placement-group", "Tags": [{"Key": TOKEN, "Value": "*"}]}],
    )
    assert "--group-name 'x; touch pwned' --region" in account.sweep()[1]


def test_a_disk_goes_with_the_instance_that_it_was_to_be_deleted_with(account: Account) -> None:
    bench = account.bench()
    record = begun(bench, "q2w3")
    ours, theirs = account.disk(tags_of(record)), account.disk(tags_of(record))
    bench.records.write(replace(record, volume_ids=(ours,)))
    found = bench.proofs.resources(tagged_resources.find(bench.region.api), REGION)
    assert {one.name: one.unproven is None for one in found} == {ours: True, theirs: False}
    later = account.bench()
    seen = tagged_resources.TaggedResource(
        kind="instance", ident="i-1", tags=tags_of(record), given_name=record.resource_name, parts=(theirs,)
    )
    assert [one.ident for one in later.proofs.removable([seen], REGION)] == ["i-1"]
    assert {one.ident for one in later.proofs.removable(tagged_resources.find(bench.region.api), REGION)} == {
        ours,
        theirs,
    }


def test_a_kept_host_stays_and_a_dead_run_s_does_not(account: Account) -> None:
    kept, dead = ended_run(account), ended_run(account)
    book = account.ledger
    states = {kept: HostState.KEPT, dead: HostState.FAILED}
    made = {run: orphan(account, run) for run in states}
    for run, state in states.items():
        record = leftovers.close_host(book.find(run), book.hosts(run)[0], book, account.bench(), print)
        book.record_state(book.own_host(run, record.name).token, replace(record, state=state))
    assert account.sweep("--yes")[0] == 0
    assert account.there() == made[kept]


def test_tags_of_images_steer_no_terminal(account: Account) -> None:
    canary = "\x9b2J\u202egnp.exe\u200b\U000e0041"  # ESC is no character of XML, in which EC2 answers
    image = account.ec2.register_image(Name="theirs", Architecture="x86_64", RootDeviceName="/dev/xvda")["ImageId"]
    names = ("image", "user", "base", "driver", "proof", "run", "token")
    account.ec2.create_tags(Resources=[image], Tags=[{"Key": f"ptp-harness:{name}", "Value": canary} for name in names])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTP_HARNESS_STATE_DIR", str(account.folder))
        for words in (["list"], ["list", "--json"], ["delete", f"baked:{canary}"], ["delete", image]):
            done = CliRunner().invoke(app, ["image", *words, "--region", REGION])
            assert image in done.output + str(done.exception) or words[0] == "delete"
            assert done.output == printable(done.output)
    account.ec2.deregister_image(ImageId=image)


def test_without_a_bench_the_regions_that_the_ledger_names_are_swept_too(account: Account) -> None:
    run = ended_run(account)
    ledger = account.ledger
    away = ledger.open_run(bench="ec2", campaign={"region": OTHER_REGION}, hosts={"a": "m7i.large"})
    ledger.close_run(RunRecord(run=away, bench="ec2", started="", seconds=1, interrupted=True, hosts=(), leftovers=()))
    here = orphan(account, run)
    there = Account(boto3.client("ec2", OTHER_REGION), account.folder)
    orphan(there, away)
    done = account.call("sweep", "--region", REGION)
    assert done.exit_code == ExitCode.LEFT_RUNNING
    assert done.stderr == f"searching lab, ec2 in {REGION}, ec2 in {OTHER_REGION}\n"
    assert all(f"{name}/m7i.large/1  instance" in done.stdout for name in (run, away))
    assert "of ada" in done.stdout
    listed = json.loads(account.call("sweep", "--region", REGION, "--json").stdout)
    assert {(each["run"], each["region"], each["owner"]) for each in listed["left"]} == {
        (run, REGION, "ada"),
        (away, OTHER_REGION, "ada"),
    }
    assert listed["left"][0]["resources"][0]["kind"] == "instance"
    assert listed["left"][0]["age_s"] < 600
    done = account.call("sweep", "--region", REGION, "--yes", "--owner", "bob", "--older-than", "1h")
    assert (done.exit_code, done.stdout) == (0, "nothing to remove; 2 more, which the options do not select\n")
    done = account.call("sweep", "--region", REGION, "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "removed 2, verified")
    assert not here & account.there()
    assert there.there() == set()
