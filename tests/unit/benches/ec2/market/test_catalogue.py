"""The Region's types: asked of moto's EC2, kept, read again, and every way in which there is none."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import catalogue
from harness.benches.ec2.market.catalogue import Catalogue, TypeInfo
from harness.errors import RequestError, SetupError
from harness.model import Claim
from harness.model.ec2_enums import Architecture

REGION = "me-south-1"  # the fewest types of all


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(moto: str, cache: Path) -> Iterator[tuple[Catalogue, Api]]:
    """The list as asked once, and who asked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_ENDPOINT_URL", moto)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setattr("harness.benches.ec2.api.api.READ_S", 300)
        api = Api(REGION)
        yield catalogue.load(api, cache), api


def calls(api: Api) -> dict[str, int]:
    return {operation: times for (operation, _), times in api.calls.items()}


def test_what_a_region_offers(first: tuple[Catalogue, Api]) -> None:
    found, _ = first
    assert found.region == REGION
    assert found.types["m5.large"] == TypeInfo(
        name="m5.large",
        family="m5",
        size="large",
        architecture=Architecture.X86_64,
        vcpus=2,
        memory_mib=8192,
        phc=False,
        ena="required",
        zones=("me-south-1a", "me-south-1b", "me-south-1c"),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=False,
    )
    assert (found.types["m6g.large"].architecture, found.types["m5.metal"].bare_metal) == ("arm64", True)
    assert len(found.types) > 200
    assert all(one.zones for one in found.types.values())
    assert "m7i.large" not in found.types, "this Region does not offer it, though moto knows the type"


def test_types_stand_by_family_and_size(first: tuple[Catalogue, Api]) -> None:
    sizes = [one.vcpus for one in first[0].types.values() if one.family == "m5"]
    families = [one.family for one in first[0].types.values()]
    assert (sizes, families) == (sorted(sizes), sorted(families))


def test_how_often_aws_is_asked(first: tuple[Catalogue, Api]) -> None:
    """A call per hundred types, and one per thousand offers (moto answers those at once)."""
    found, api = first
    assert calls(api) == {
        "ec2.DescribeInstanceTypeOfferings": 1,
        "ec2.DescribeInstanceTypes": -(-len(found.types) // 100),
    }


def test_the_list_is_kept_and_asked_no_more(first: tuple[Catalogue, Api], cache: Path, aws: str) -> None:
    again, offline = Api(REGION), Api(REGION)
    assert catalogue.load(again, cache) == catalogue.load(offline, cache, offline=True, max_age_s=0) == first[0]
    assert (calls(again), calls(offline)) == ({}, {})
    (file,) = (cache / "ec2").iterdir()
    assert file.name == f"types-{REGION}@{aws.replace('://', '-').replace('.', '-').replace(':', '-')}.json"
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_old_list_is_asked_anew(first: tuple[Catalogue, Api], cache: Path, aws: str) -> None:
    api = Api(REGION)
    assert catalogue.load(api, cache, max_age_s=0).types == first[0].types
    assert calls(api)["ec2.DescribeInstanceTypes"] > 0


def test_the_claim_has_its_date(first: tuple[Catalogue, Api]) -> None:
    found = first[0]
    date = found.as_of.date().isoformat()
    assert found.claim("m5.large") == Claim(phc_supported=False, source="DescribeInstanceTypes", date=date)
    assert found.claim("nothing") is None


def test_offline_without_a_list_says_how_to_get_one(tmp_path: Path, aws: str) -> None:
    with pytest.raises(RequestError, match="no list of the types of me-south-1 has been kept here") as refused:
        catalogue.load(Api(REGION), tmp_path, offline=True)
    assert refused.value.next_step == "run once without --offline: `ptp-harness types --region me-south-1` keeps one"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 0}', '{"schema": 1, "taken": "soon", "content": []}'])
def test_a_spoilt_file_counts_as_none(tmp_path: Path, aws: str, text: str) -> None:
    api = Api(REGION)
    path = answer_cache.cache_file(tmp_path, "types", REGION, api.endpoint("ec2"))
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(RequestError, match="no list"):
        catalogue.load(api, tmp_path, offline=True)


def test_what_is_no_answer_of_aws_is_one_sentence(tmp_path: Path, aws: str) -> None:
    """moto answers for a Region that there is not with a page of HTML, as a proxy would."""
    with pytest.raises(SetupError) as refused:
        catalogue.load(Api("eu-nowhere-1"), tmp_path)
    assert (refused.value.message, refused.value.next_step) == (
        "cannot ask for the types of eu-nowhere-1: listing what the zones offer: "
        "the service that answers for AWS in eu-nowhere-1 does not use AWS's protocol",
        "is a proxy in between, or AWS_ENDPOINT_URL set?",
    )


def test_without_credentials_it_is_one_sentence(
    first: tuple[Catalogue, Api], cache: Path, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SetupError) as refused:
        catalogue.load(Api(REGION), cache, max_age_s=0)
    assert refused.value.message == (
        "cannot ask for the types of me-south-1: listing what the zones offer: there are no AWS credentials"
    )
    day = answer_cache.utc_now().date().isoformat()
    assert refused.value.next_step.endswith(f"; --offline shows the list of {day}")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "ec2").write_text("a file in its place")
    assert answer_cache.write(tmp_path / "ec2" / "x.json", [1]).content == [1]


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("https://ec2.eu-north-1.amazonaws.com", "types-eu-north-1.json"),
        ("https://ec2.cn-north-1.amazonaws.com.cn", "types-eu-north-1.json"),
        ("http://127.0.0.1:5000", "types-eu-north-1@http-127-0-0-1-5000.json"),
        ("https://ec2.amazonaws.com.example.org", "types-eu-north-1@https-ec2-amazonaws-com-example-org.json"),
    ],
)
def test_a_models_word_is_not_kept_as_awss(tmp_path: Path, endpoint: str, name: str) -> None:
    assert answer_cache.cache_file(tmp_path, "types", "eu-north-1", endpoint) == tmp_path / "ec2" / name


# --- what moto does not say: botocore's own model of the API answers ------------------------------------------------


def described(name: str, **changes: Any) -> dict[str, Any]:
    said = {
        "InstanceType": name,
        "CurrentGeneration": True,
        "BareMetal": False,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": 2},
        "MemoryInfo": {"SizeInMiB": 8192},
        "NetworkInfo": {"EnaSupport": "required"},
        "PhcSupport": "supported",
    }
    return {key: value for key, value in (said | changes).items() if value is not None}


@pytest.fixture
def says(aws: str, tmp_path: Path) -> Iterator[Any]:
    """Takes what DescribeInstanceTypes says, one answer per page; gives what we make of it."""
    api = Api("eu-north-1")
    with Stubber(api.client("ec2", "eu-north-1")) as stub:

        def load(*pages: list[dict[str, Any]]) -> Mapping[str, TypeInfo]:
            names = [one["InstanceType"] for page in pages for one in page]
            offers = [{"InstanceType": name, "Location": f"eu-north-1{zone}"} for name in names for zone in "ba"]
            half = len(names)
            stub.add_response(
                "describe_instance_type_offerings", {"InstanceTypeOfferings": offers[:half], "NextToken": "more"}
            )
            stub.add_response("describe_instance_type_offerings", {"InstanceTypeOfferings": offers[half:]})
            for number, page in enumerate(pages):
                more = {"NextToken": str(number)} if number < len(pages) - 1 else {}
                stub.add_response("describe_instance_types", {"InstanceTypes": page, **more})
            found = catalogue.load(api, tmp_path).types
            stub.assert_no_pending_responses()
            return found

        yield load


def test_no_word_about_the_clock_is_unknown_never_no(says: Any) -> None:
    found = says(
        [described("m7i.large"), described("m1.large", PhcSupport="unsupported")], [described("x.y", PhcSupport=None)]
    )
    assert {name: one.phc for name, one in found.items()} == {"m1.large": False, "m7i.large": True, "x.y": None}
    assert found["m7i.large"].zones == ("eu-north-1a", "eu-north-1b")


def test_a_region_that_offers_nothing(says: Any, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"eu-north-1 offers no instance types \(is the Region's name right"):
        says()
    assert list(tmp_path.rglob("*.json")) == []


def test_the_architecture_is_the_apis_word(says: Any) -> None:
    spoken = {"t2.micro": ["i386", "x86_64"], "m7g.large": ["arm64"], "mac2.metal": ["arm64_mac"]}
    found = says([described(name, ProcessorInfo={"SupportedArchitectures": words}) for name, words in spoken.items()])
    assert {name: one.architecture for name, one in found.items()} == {"t2.micro": "x86_64", "m7g.large": "arm64"}


def test_the_kept_file_is_json_of_our_words(says: Any, tmp_path: Path) -> None:
    says([described("m7i.large")])
    (file,) = (tmp_path / "ec2").glob("*.json")
    kept = json.loads(file.read_text())
    assert (kept["schema"], [one["name"] for one in kept["content"]]) == (1, ["m7i.large"])
