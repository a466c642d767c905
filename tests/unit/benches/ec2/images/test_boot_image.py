"""Which image a name means: asked of moto's EC2, which has Amazon's own, and every image that cannot be used."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.stub import Stubber

from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images import boot_image
from harness.benches.ec2.images.boot_image import BootImages
from harness.errors import RequestError
from harness.model.ec2_enums import Architecture
from harness.model.image_aliases import ALIASES


def answered(stub: Stubber, architecture: str, found: dict[str, str]) -> None:
    names = {name: named.parameters[architecture] for name, named in ALIASES.items()}
    stub.add_response(
        "get_parameters",
        {
            "Parameters": [{"Name": names[name], "Value": ami} for name, ami in found.items()],
            "InvalidParameters": [path for name, path in names.items() if name not in found],
        },
        {"Names": list(names.values())},
    )


def described(stub: Stubber, ami: str, **changes: Any) -> None:
    """DescribeImages knows one of Debian's."""
    root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    image = {
        "ImageId": ami,
        "Architecture": "x86_64",
        "State": "available",
        "Name": "debian-13-amd64-20261111-2294",
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "BlockDeviceMappings": [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}, root],
    }
    stub.add_response("describe_images", {"Images": [image | changes]}, {"ImageIds": [ami]})


Stubs = Callable[[str], Stubber]


def test_amazon_linux_by_its_name_and_by_its_id(moto_api: Api) -> None:
    known = BootImages(moto_api)
    found = known.find_image("al2023", Architecture.ARM64)
    assert (found.name, found.architecture, found.user) == ("al2023", "arm64", "ec2-user")
    assert found.parameter == "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    assert found.title.startswith("al2023-ami-2023")
    assert (found.root_device, found.volume_gib) == ("/dev/xvda", 15)
    assert found.taken.endswith("+00:00")
    assert known.find_image("al2023", Architecture.ARM64) is found
    assert moto_api.calls == {("ssm.GetParameters", ""): 1, ("ec2.DescribeImages", ""): 1}
    by_id = known.find_image(found.ami, Architecture.ARM64)
    assert (by_id.name, by_id.ami, by_id.parameter, by_id.user) == (found.ami, found.ami, None, "ec2-user")
    with pytest.raises(RequestError) as caught:
        known.find_image(found.ami, Architecture.X86_64)
    assert str(caught.value) == (
        f"the image {found.ami} is for arm64, and the type's architecture is x86_64 "
        "(choose another `image:`, or types that fit it)"
    )


@pytest.mark.parametrize("ami", ["ami-0123456789abcdef0", "ami-nonsense"])
def test_an_id_that_is_not_there(moto_api: Api, ami: str) -> None:
    with pytest.raises(RequestError) as caught:
        boot_image.resolve(moto_api, ami, Architecture.X86_64)
    assert caught.value.message == f"eu-north-1 has no image {ami}, or this account may not see it"
    assert caught.value.next_step.startswith("an image's id is of one Region")


@pytest.mark.parametrize(
    ("name", "architecture", "parameter", "user"),
    [
        ("debian-12", Architecture.X86_64, "/aws/service/debian/release/12/latest/amd64", "admin"),
        ("debian-13", Architecture.ARM64, "/aws/service/debian/release/13/latest/arm64", "admin"),
        (
            "ubuntu-22.04",
            Architecture.X86_64,
            "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
            "ubuntu",
        ),
        (
            "ubuntu-24.04",
            Architecture.ARM64,
            "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
            "ubuntu",
        ),
    ],
)
def test_the_others_by_their_names(
    api: Api, stub: Stubs, name: str, architecture: str, parameter: str, user: str
) -> None:
    answered(stub("ssm"), architecture, {"al2023": "ami-1", name: "ami-2"})
    described(stub("ec2"), "ami-2", Architecture=architecture)
    found = boot_image.resolve(api, name, architecture)
    assert (found.ami, found.parameter, found.user, found.volume_gib) == ("ami-2", parameter, user, 8)


def test_a_misspelt_name_has_neighbours(api: Api) -> None:
    with pytest.raises(RequestError) as caught:
        boot_image.resolve(api, "ubunt-24.04", Architecture.X86_64)
    assert str(caught.value) == (
        "there is no image 'ubunt-24.04' (nearest: ubuntu-24.04, ubuntu-22.04, debian-12; or baked:NAME; "
        "or an image's id, ami-...)"
    )
    assert not api.calls


def test_a_name_that_the_region_does_not_have(api: Api, stub: Stubs) -> None:
    answered(stub("ssm"), Architecture.ARM64, {"al2023": "ami-1", "debian-12": "ami-2"})
    with pytest.raises(RequestError) as caught:
        boot_image.resolve(api, "debian-13", Architecture.ARM64)
    assert str(caught.value) == ("eu-north-1 has no image debian-13 for arm64 (there for arm64 are debian-12, al2023)")


def test_a_region_without_any(api: Api, stub: Stubs) -> None:
    answered(stub("ssm"), Architecture.ARM64, {})
    with pytest.raises(RequestError, match="name an image by its id"):
        boot_image.resolve(api, "debian-13", Architecture.ARM64)


def test_nobody_knows_who_logs_in(api: Api, stub: Stubs) -> None:
    described(stub("ec2"), "ami-1", Name="our-golden-image")
    with pytest.raises(RequestError) as caught:
        boot_image.resolve(api, "ami-1", Architecture.X86_64)
    assert str(caught.value) == "the login user of ami-1 (our-golden-image) is not known (set `user:`)"
    described(stub("ec2"), "ami-1", Name="our-golden-image")
    assert boot_image.resolve(api, "ami-1", Architecture.X86_64, user="root").user == "root"


@pytest.mark.parametrize(
    ("said", "user"),
    [
        ({"Name": "al2023-ami-2023.9.20261111.0-kernel-6.12-x86_64", "OwnerId": "1"}, "ec2-user"),
        ({"Name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261111"}, "ubuntu"),
        ({"Name": "Rocky-9-EC2", "OwnerId": "792107900819"}, "rocky"),
        ({"Name": "whatever", "ImageOwnerAlias": "amazon", "OwnerId": "898082745236"}, "ec2-user"),
        ({"Name": "ours", "Tags": [{"Key": "ptp-harness:user", "Value": "admin"}]}, "admin"),
        *(
            ({"Name": name, "Tags": [{"Key": "ptp-harness:user", "Value": forged}]}, user)
            for forged in (
                "-oProxyCommand=touch x",
                "{{ lookup('pipe', 'id') }}",
                "a b",
                "root\n",
                "",
                "x" * 33,
                "Root",
            )
            for name, user in (("ours", None), ("debian-13-amd64", "admin"))
        ),
        ({"Name": "ours"}, None),
    ],
)
def test_who_logs_in(said: dict[str, Any], user: str | None) -> None:
    assert boot_image.login_user(said) == user


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"State": "pending"}, "cannot be launched: its state is pending"),
        ({"Platform": "windows"}, "is Windows: only Linux can be qualified"),
        ({"RootDeviceType": "instance-store"}, "has no EBS root volume, which the stack makes"),
    ],
)
def test_images_that_cannot_be_used(api: Api, stub: Stubs, said: dict[str, str], words: str) -> None:
    described(stub("ec2"), "ami-1", **said)
    with pytest.raises(RequestError) as caught:
        boot_image.resolve(api, "ami-1", Architecture.X86_64)
    assert caught.value.message == f"the image ami-1 {words}"
