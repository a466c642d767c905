"""A host's disk becomes an image, which is there for campaigns only once it is proven; against moto's server."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from harness.benches.bench import BenchError
from harness.benches.ec2 import image_maker
from harness.benches.ec2.account import tagged_resources
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.image_maker import Ec2ImageMaker
from harness.benches.ec2.images import baked_images, boot_image
from harness.benches.ec2.instances.launch_records import LaunchRecord
from harness.errors import CleanupError, RequestError
from harness.model import Token
from harness.model.cloud import BakedImage, CloudOptions
from harness.model.ec2_enums import Architecture
from harness.model.ownership import KEYLESS_SIGNER, Signer
from harness.system.settings import Settings, load
from tests.doubles import ec2_delays, ec2_server
from tests.doubles.ec2_delays import Clock

REGION = "eu-north-1"
HOST = Token(run="k3f9", host="m7i.large")

pytestmark = pytest.mark.usefixtures("moto_api")


@pytest.fixture(autouse=True)
def _taught(monkeypatch: pytest.MonkeyPatch) -> None:
    ec2_server.install(set_attribute=partial(monkeypatch.setattr, raising=False))


@pytest.fixture
def settings(tmp_path: Path, ec2_cache: Path) -> Settings:
    return load({"PTP_HARNESS_STATE_DIR": str(tmp_path), "PTP_HARNESS_CACHE_DIR": str(ec2_cache)})


@pytest.fixture
def bench(settings: Settings) -> Ec2Bench:
    return Ec2Bench(settings, CloudOptions(region=REGION))


@pytest.fixture
def oven(bench: Ec2Bench) -> Ec2ImageMaker:
    return Ec2ImageMaker(bench=bench, pause=lambda _seconds: None)


@pytest.fixture
def ec2(moto_api: Api) -> Iterator[Any]:
    """Whatever a test left is gone for the next one."""
    yield boto3.client("ec2", REGION)
    for image in baked_images.list_images(moto_api):
        boto3.client("ec2", REGION).deregister_image(ImageId=image.ident)
        for snapshot in image.snapshots:
            boto3.client("ec2", REGION).delete_snapshot(SnapshotId=snapshot)


def running(ec2: Any, bench: Ec2Bench, token: Token = HOST) -> LaunchRecord:
    """A host of ours that runs."""
    base = boot_image.resolve(bench.region.api, "al2023", Architecture.X86_64).ami
    launched = ec2.run_instances(ImageId=base, InstanceType="m7i.large", MinCount=1, MaxCount=1)["Instances"][0]
    record = bench.begin_record(token, "m7i.large")
    return bench.records.write(replace(record, instance_id=launched["InstanceId"], image=base, user="ec2-user"))


def made(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker, token: Token = HOST, name: str = "al2023") -> BakedImage:
    running(ec2, bench, token)
    return oven.make(token, name=name, driver="distribution", progress=lambda _words: None)


def snapshots(ec2: Any, image: BakedImage) -> list[dict[str, Any]]:
    wanted = [{"Name": "snapshot-id", "Values": list(image.snapshots)}]
    return list(ec2.describe_snapshots(Filters=wanted)["Snapshots"])


def test_a_candidate_is_no_image_for_campaigns_until_it_is_published(
    ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker
) -> None:
    image = made(ec2, bench, oven)
    assert (image.name, image.architecture, image.user, image.proof) == ("al2023", "x86_64", "ec2-user", None)
    assert (image.run, image.driver, image.base[:4]) == ("k3f9", "distribution", "ami-")
    record = bench.records.find(HOST)
    assert record is not None
    states = ec2.describe_instances(InstanceIds=[record.instance_id])["Reservations"][0]["Instances"][0]["State"]
    assert states["Name"] == "stopped"
    with pytest.raises(RequestError, match="no proven image baked:al2023 for x86_64"):
        boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer)
    assert boot_image.resolve(oven.api, "baked:al2023@k3f9", Architecture.X86_64, signer=oven.signer).ami == image.ident

    oven.publish(image, proof="z7y8")
    found = boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer)
    assert (found.ami, found.user, found.name) == (image.ident, "ec2-user", "baked:al2023")
    assert baked_images.list_images(oven.api, oven.signer) == [replace(image, proof="z7y8")]
    with pytest.raises(RequestError, match=r"for arm64 .*there are baked:al2023 for x86_64"):
        boot_image.resolve(oven.api, "baked:al2023", Architecture.ARM64, signer=oven.signer)


def test_a_candidate_is_swept_and_a_published_one_is_not(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    token = str(image_maker.image_token(HOST))
    candidate = made(ec2, bench, oven)
    assert {one.kind for one in tagged_resources.find(oven.api, token=token)} == {"image", "snapshot"}
    assert {one.token for one in bench.resources() if one.kind in ("image", "snapshot")} == {token}
    oven.drop(HOST)
    assert (baked_images.list_images(oven.api), snapshots(ec2, candidate)) == ([], [])

    published = made(ec2, bench, oven, Token(run="q2w3", host="m7i.large"))
    oven.publish(published, proof="z7y8")
    oven.drop(Token(run="q2w3", host="m7i.large"))
    assert [one.ident for one in baked_images.list_images(oven.api)] == [published.ident]
    assert [one for one in tagged_resources.find(oven.api) if one.kind in ("image", "snapshot")] == []
    assert tagged_resources.find(oven.api, run="q2w3", token=None) == []


def copied_tags(ec2: Any, image: BakedImage, onto: str) -> None:
    (said,) = ec2.describe_images(ImageIds=[image.ident])["Images"]
    ec2.create_tags(Resources=[onto], Tags=said["Tags"])


def theirs(ec2: Any) -> str:
    """An image that somebody else in the account made."""
    base = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    launched = ec2.run_instances(ImageId=base, InstanceType="m7i.large", MinCount=1, MaxCount=1)["Instances"][0]
    return str(ec2.create_image(InstanceId=launched["InstanceId"], Name="theirs")["ImageId"])


def test_an_image_with_a_copy_of_all_our_tags_is_none_of_ours(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    candidate = made(ec2, bench, oven)
    forged = theirs(ec2)
    copied_tags(ec2, candidate, forged)
    token = image_maker.image_token(HOST)
    assert (
        boot_image.resolve(oven.api, "baked:al2023@k3f9", Architecture.X86_64, signer=oven.signer).ami
        == candidate.ident
    )
    assert {one.name for one in bench.resources() if one.unproven and one.kind == "image"} == {forged}
    bench.release(token)
    assert [one.ident for one in baked_images.list_images(oven.api, oven.signer)] == [forged], (
        "ours is gone, and only ours"
    )

    published = made(ec2, bench, oven, Token(run="q2w3", host="m7i.large"))
    oven.publish(published, proof="z7y8")
    copied_tags(ec2, published, forged)
    ec2.delete_tags(Resources=[forged], Tags=[{"Key": "ptp-harness:token"}, {"Key": "ptp-harness:expires"}])
    seen = {one.ident: (one.proof, one.signed) for one in baked_images.list_images(oven.api, oven.signer)}
    assert seen == {forged: ("z7y8", False), published.ident: ("z7y8", True)}
    assert boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer).ami == published.ident
    [false] = [one for one in baked_images.list_images(oven.api, oven.signer) if not one.signed]
    with pytest.raises(RequestError, match=f"the image {forged} is not proven to be ours"):
        baked_images.remove(oven.api, [false])
    newer = replace(published, created="2999")
    assert [one.ident for one in oven.retire(newer, older=0)] == []  # `published` itself stays, and so does theirs
    baked_images.remove(oven.api, [published])
    with pytest.raises(RequestError, match=rf"was published from here: {forged} carries that name.*`image: {forged}`"):
        boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer)


def test_a_tag_that_was_changed_since_takes_the_image_out_of_campaigns(
    ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker
) -> None:
    image = made(ec2, bench, oven)
    ec2.create_tags(Resources=[image.ident], Tags=[{"Key": baked_images.USER, "Value": "-oProxyCommand=x"}])
    oven.publish(image, proof="z7y8")
    assert boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer).user == "ec2-user", (
        "as we made it"
    )
    ec2.create_tags(Resources=[image.ident], Tags=[{"Key": baked_images.USER, "Value": "root"}])
    with pytest.raises(RequestError, match="was published from here"):
        boot_image.resolve(oven.api, "baked:al2023", Architecture.X86_64, signer=oven.signer)


def test_what_stays_of_an_image_is_swept_by_its_own_signature(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    image = made(ec2, bench, oven)
    ec2.deregister_image(ImageId=image.ident)
    (told,) = [one for one in bench.resources() if one.kind == "snapshot"]
    assert told.unproven is None
    oven.drop(HOST)
    assert snapshots(ec2, image) == []


def test_the_longest_name_of_an_image_fits(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    image = made(ec2, bench, oven, name="x" * 63)
    (said,) = ec2.describe_images(ImageIds=[image.ident])["Images"]
    assert len(said["Name"]) <= 128


def test_older_ones_of_the_same_name_go_and_no_others(
    ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [made(ec2, bench, oven, Token(run=run, host="m7i.large")) for run in ("aaaa", "bbbb", "cccc", "dddd")]
    other = made(ec2, bench, oven, Token(run="eeee", host="m7i.large"), name="debian-13")
    candidate = made(ec2, bench, oven, Token(run="ffff", host="m7i.large"))
    for image in [*every, other]:
        oven.publish(image, proof="z7y8")
    dated = {one.ident: f"2026-11-{day:02d}T00:00:00.000Z" for day, one in enumerate([*every, other, candidate], 1)}
    listed = baked_images.list_images
    with monkeypatch.context() as patch:  # moto's clock gives all the same second

        def dated_every(api: Api, signer: Signer = KEYLESS_SIGNER) -> list[BakedImage]:
            there = [replace(one, created=dated[one.ident]) for one in listed(api, signer)]
            return sorted(there, key=lambda one: one.created)

        patch.setattr(baked_images, "list_images", dated_every)
        newest = replace(every[3], created=dated[every[3].ident])
        assert [one.ident for one in oven.retire(newest, older=1)] == [every[0].ident, every[1].ident]
        assert snapshots(ec2, every[0]) == []
        assert {one.ident for one in listed(oven.api)} == {every[2].ident, every[3].ident, other.ident, candidate.ident}
        assert [one.ident for one in oven.retire(newest, older=0)] == [every[2].ident]


def test_an_answer_that_was_lost_makes_no_second_image(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    host = running(ec2, bench)
    tags = {baked_images.NAME: "al2023", baked_images.BASE: "ami-1"}
    first = oven.create_image(host, "ptp-harness-al2023-title", tags)
    assert oven.create_image(host, "ptp-harness-al2023-title", tags) == first


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of an EC2 that finds a new image by its id only after some seconds."""
    clock = Clock()
    ec2_delays.install(clock, set_attribute=partial(monkeypatch.setattr, raising=False))
    return clock


def test_a_new_image_that_ec2_does_not_find_yet_is_waited_for(ec2: Any, bench: Ec2Bench, late: Clock) -> None:
    image = made(ec2, bench, Ec2ImageMaker(bench=bench, pause=late.advance))
    assert (image.state, image.name) == ("available", "al2023")
    assert late.added_s >= ec2_delays.IMAGE_SHOWS_AFTER_S


def test_an_image_that_somebody_removed_meanwhile_is_not_waited_for(ec2: Any, bench: Ec2Bench, late: Clock) -> None:
    with pytest.raises(BenchError, match=r"the image ami-0123 is deregistered"):
        Ec2ImageMaker(bench=bench, pause=late.advance).wait_for_copy(
            running(ec2, bench), "ami-0123", lambda _words: None
        )
    assert late.added_s < 200


def test_an_image_that_fails_says_why(
    ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"Images": [{"State": "failed", "StateReason": {"Message": "Client.InternalError: the key is disabled"}}]}
    call = Api.call

    def answer(self: Api, service: str, operation: str, **words: Any) -> Any:
        return said if operation == "describe_images" else call(self, service, operation, **words)

    host = running(ec2, bench)
    with monkeypatch.context() as patch:
        patch.setattr(Api, "call", answer)
        with pytest.raises(BenchError, match=r"is failed: Client\.InternalError: the key is disabled"):
            oven.wait_for_copy(host, "ami-0123", lambda _words: None)


def test_what_is_gone_already_is_no_failure(ec2: Any, bench: Ec2Bench, oven: Ec2ImageMaker) -> None:
    image = made(ec2, bench, oven)
    baked_images.remove(oven.api, [image, replace(image, ident="ami-00000000000000000", snapshots=())])
    assert (baked_images.list_images(oven.api), snapshots(ec2, image)) == ([], [])


def test_what_stays_is_named(api: Api, stub: Callable[[str], Stubber]) -> None:
    said = {"ImageId": "ami-1", "Tags": [{"Key": baked_images.NAME, "Value": "al2023"}]}
    ec2 = stub("ec2")
    ec2.add_client_error("deregister_image", "OperationNotPermitted", "it is protected")
    ec2.add_response("delete_snapshot", {})
    ec2.add_response("describe_images", {"Images": [said]})
    ec2.add_response("describe_snapshots", {"Snapshots": []})
    with pytest.raises(CleanupError, match=r"image ami-1 .*OperationNotPermitted: it is protected") as caught:
        baked_images.remove(api, [replace(baked_images.parse_image(said), snapshots=("snap-1",), signed=True)])
    assert "snap-1" not in str(caught.value)
