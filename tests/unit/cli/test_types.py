"""`types` as a person calls it: against a list that was kept, and moto's EC2; what was measured is a ledger's."""

import csv
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from harness import ladder
from harness.analysis.quality import compute_quality
from harness.benches.ec2.api import answer_cache
from harness.campaign import limits
from harness.cli.app import app
from harness.model import Claim, Depth, Evidence, HostRecord, HostState, Launch, Reason
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture
from harness.store.ledger import Ledger
from tests.doubles.records import make_host

Call = Callable[..., "subprocess.CompletedProcess[str]"]
REGION = "eu-north-1"


def a_type(name: str, **changes: Any) -> TypeInfo:
    family, _, size = name.partition(".")
    values: dict[str, Any] = {
        "name": name,
        "family": family,
        "size": size,
        "architecture": Architecture.X86_64,
        "vcpus": 2,
        "memory_mib": 8192,
        "phc": True,
        "ena": "required",
        "zones": (f"{REGION}a", f"{REGION}b"),
        "price_per_hour_usd": None,
        "bare_metal": False,
        "current_generation": True,
    }
    return TypeInfo(**(values | changes))


TYPES = (
    a_type("c8g.large", architecture=Architecture.ARM64, memory_mib=4096),
    a_type("m1.large", phc=None, ena="unsupported", current_generation=False, zones=(f"{REGION}c",)),
    a_type("m7i.large"),
    a_type("m7i.xlarge", vcpus=4, memory_mib=16384),
    a_type("t2.micro", phc=False, vcpus=1, memory_mib=1024),
)
PRICES = {"c8g.large": 0.08, "m7i.large": 0.1071, "m7i.xlarge": 0.2142}


@pytest.fixture
def kept(tmp_path: Path, call: Call) -> Call:
    """The command where a list of eu-north-1 was kept, and no AWS is near."""
    endpoint = f"https://ec2.{REGION}.amazonaws.com"
    answer_cache.write(
        answer_cache.cache_file(tmp_path / "cache", "types", REGION, endpoint), [asdict(one) for one in TYPES]
    )
    answer_cache.write(answer_cache.cache_file(tmp_path / "cache", "prices-on-demand", REGION, endpoint), PRICES)
    return away(call, tmp_path)


def away(call: Call, tmp_path: Path, **more: str) -> Call:
    environ = {
        "PTP_HARNESS_CACHE_DIR": str(tmp_path / "cache"),
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_ENDPOINT_URL": "",
        "AWS_REGION": "",
        "AWS_DEFAULT_REGION": "",
        **more,
    }
    return lambda *words: call(*words, **environ)


def test_the_table_with_its_age(kept: Call) -> None:
    done = kept("types", "--region", REGION, "--offline")
    of_types, of_prices, total = done.stderr.splitlines()
    assert done.stdout.splitlines() == [
        "TYPE        ARCH    VCPU  MEMORY  PHC       $/HOUR   ENA          ZONES",
        "c8g.large   arm64   2     4 GiB   yes       0.0800   required     eu-north-1a b",
        "m1.large    x86_64  2     8 GiB   not told  unknown  unsupported  eu-north-1c",
        "m7i.large   x86_64  2     8 GiB   yes       0.1071   required     eu-north-1a b",
        "m7i.xlarge  x86_64  4     16 GiB  yes       0.2142   required     eu-north-1a b",
        "t2.micro    x86_64  1     1 GiB   no        unknown  required     eu-north-1a b",
    ]
    assert of_types.startswith("eu-north-1: types as of 20")
    assert of_types.endswith(" s ago")
    assert of_prices.startswith("on-demand prices as of 20")
    assert (done.returncode, total) == (0, "5 of 5 types")


@pytest.mark.parametrize(
    ("words", "names", "left_out"),
    [
        ("--phc supported --arch x86_64", ["m7i.large", "m7i.xlarge"], "arch x86_64 1, phc supported 2"),
        (
            "--family m7i --family c8* --one-size",
            ["c8g.large", "m7i.large"],
            "family m7i, c8* 2, one size per family 1",
        ),
        (
            "--max-price 0.2 --sort price",
            ["c8g.large", "m7i.large"],
            "a price that is known 2, at most $0.2 per hour 1",
        ),
        ("--sort vcpus --limit 3", ["t2.micro", "c8g.large", "m1.large"], ""),
        ("--sort price", ["c8g.large", "m7i.large", "m7i.xlarge", "m1.large", "t2.micro"], ""),
        ("--sort memory --current --max-vcpus 2 --min-memory 2", ["c8g.large", "m7i.large"], ""),
        ("--exclude m7i --exclude *.micro --size l*", ["c8g.large", "m1.large"], "size l* 2, exclude m7i, *.micro 1"),
        ("--phc unknown --min-vcpus 3", [], "phc unknown 4, at least 3 vCPUs 1"),
    ],
)
def test_filters_and_order(kept: Call, words: str, names: list[str], left_out: str) -> None:
    done = kept("types", "--region", REGION, "--offline", "--json", *words.split())
    found = [one["name"] for one in json.loads(done.stdout)["types"]]
    if "--limit" in words:
        assert sorted(found) == ["c8g.large", "m1.large", "m7i.large"], "the first three of the list, then sorted"
    else:
        assert found == names
    assert left_out in done.stderr.splitlines()[-1]


def test_as_data(kept: Call) -> None:
    told = json.loads(kept("types", "--region", REGION, "--json", "--family", "m1").stdout)
    assert {key: told[key] for key in ("schema", "bench", "region", "types")} == {
        "schema": 1,
        "bench": "ec2",
        "region": REGION,
        "types": [json.loads(json.dumps(asdict(TYPES[1])))],
    }
    assert told["taken"].endswith("+00:00")
    assert (told["prices"]["market"], told["prices"]["why_unknown"]) == ("on-demand", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--offline", "no Region is known"),
        ("--offline --region eu-west-9", "no list of the types of eu-west-9 has been kept here"),
        (
            "--region eu-north-1 --refresh",
            "cannot ask for the types of eu-north-1: listing what the zones offer: there are",
        ),
        ("--bench lab --phc supported", "the types of bench lab are not chosen by conditions"),
        ("--bench lap", "there is no bench 'lap'"),
        ("--region eu-north-1 --min-vcpus 4 --max-vcpus 2", "min_vcpus of 4 is more than max_vcpus of 2"),
        ("--region eu-north-1 --offline --export csv nowhere/x.csv", "there is no folder nowhere here"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(kept: Call, words: str, message: str) -> None:
    done = kept("types", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert f"ptp-harness: {message}" in done.stderr
    assert "Traceback" not in done.stderr


# --- what was measured ----------------------------------------------------------------------------------------------


@pytest.fixture
def books(tmp_path: Path, good: Evidence) -> Mapping[str, str]:
    """A ledger with two runs on ec2: t2.micro has a clock against the claim, m7i.large found no room. Their names."""
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    no_room = Evidence(launch=Launch(failure=Reason.CAPACITY, detail="no room"))
    runs = {}
    for name, evidence in (("t2.micro", good), ("m7i.large", no_room), ("x1.large", good)):
        region = REGION if name != "x1.large" else "eu-west-1"
        runs[name] = ledger.open_run(bench="ec2", campaign={"region": region, "image": "al2023"}, hosts={name: name})
        verdict = ladder.judge(evidence, limits.requirements("ec2"), depth=Depth.STANDARD, read_only=False)
        ledger.record_state(
            ledger.own_host(runs[name], name).token,
            HostRecord(
                name=name,
                instance_type=name,
                verdict=verdict,
                facts=evidence.facts,
                stages={},
                state=HostState.RELEASED,
                address=None,
                zone=f"{region}a" if evidence is good else None,
                claim=Claim(phc_supported=False, source="DescribeInstanceTypes", date="2026-11-01"),
                quality=compute_quality(evidence, interval_s=1.0),
            ),
        )
    return runs


def test_measured_beside_claimed(kept: Call, books: Mapping[str, str]) -> None:
    done = kept("types", "--region", REGION, "--offline", "--measured", "--size", "large", "--size", "micro")
    lines = done.stdout.splitlines()
    day = answer_cache.utc_now().date().isoformat()
    assert lines[0].endswith("ZONES          MEASURED               OFFSET P99  BOUND P99  WHEN AND WHERE")
    assert lines[1].endswith("eu-north-1a b  -                      -           -          -")
    assert lines[3].endswith(f"INCONCLUSIVE capacity  -           -          {day} eu-north-1 al2023")
    assert lines[4].endswith(f"PASS synchronised      50 ns       26.3 us    {day} eu-north-1a al2023")
    assert lines[5] == (
        f"contradiction: t2.micro: the API says unsupported, and a clock was there on {day} in eu-north-1a "
        f"(run {books['t2.micro']})"
    )
    assert "x1.large" not in done.stdout, "measured in another Region"


def test_types_are_sorted_by_what_was_measured_of_them(kept: Call, books: Mapping[str, str]) -> None:
    words = ("types", "--region", REGION, "--offline", "--size", "large", "--size", "micro", "--sort")
    for figure in ("offset", "bound"):
        assert kept(*words, figure, "--measured").stdout.splitlines()[1].startswith("t2.micro")
    refused = kept(*words, "offset")
    assert refused.returncode == 2
    assert "--sort offset needs what was measured" in refused.stderr


def test_types_are_chosen_by_what_was_measured_of_them(kept: Call, books: Mapping[str, str]) -> None:
    words = ("types", "--region", REGION, "--offline", "--json", "--measured")
    good = kept(*words, "--max-offset", "1us", "--max-bound", "50us")
    assert [each["name"] for each in json.loads(good.stdout)["types"]] == ["t2.micro"]
    last = good.stderr.splitlines()[-1]
    assert last == "1 of 5 types; left out by a measured offset of at most 1 us and bound of at most 50 us 4"
    assert json.loads(kept(*words, "--max-offset", "49ns").stdout)["types"] == []
    assert len(json.loads(kept(*words, "--max-offset", "50ns").stdout)["types"]) == 1
    for asked, message in (
        (("--max-bound", "1us"), "--max-bound needs what was measured"),
        (("--max-offset", "1us", "--sort", "bound"), "--sort bound and --max-offset need what was measured"),
        (("--measured", "--max-offset", "fast"), "--max-offset is 'fast': it must be a time with its unit"),
    ):
        refused = kept("types", "--region", REGION, "--offline", *asked)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr


def test_the_labs_types_are_chosen_and_sorted_by_figures(call: Call, tmp_path: Path, good: Evidence) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None
    for name, offset_ns in (("lab.drifting", 9_000.0), ("lab.phc", 400.0)):
        run = ledger.open_run(bench="lab", campaign={}, hosts={name: name})
        figures = replace(quality, offset_ns=replace(quality.offset_ns, p99_abs=offset_ns))
        host = make_host(name=name, instance_type=name, quality=figures)
        ledger.record_state(ledger.own_host(run, name).token, host)
    ledger.close()

    def listed(*words: str) -> list[str]:
        document = json.loads(call("types", "--bench", "lab", "--measured", "--json", *words).stdout)
        return [each["name"] for each in document["types"]]

    assert listed("--sort", "offset")[:2] == ["lab.phc", "lab.drifting"]
    assert listed("--max-offset", "1us") == ["lab.phc"]
    text = call("types", "--bench", "lab", "--measured", "--max-offset", "1us").stdout.splitlines()
    assert [line.split()[0] for line in text] == ["TYPE", "lab.phc"]
    refused = call("types", "--bench", "lab", "--sort", "price")
    assert "the types of bench lab are not chosen by conditions" in refused.stderr


def test_the_knowledge_base_as_csv_and_json(kept: Call, books: Mapping[str, str], tmp_path: Path) -> None:
    told = [kept("types", "--region", REGION, "--offline", "--export", form, f"k.{form}") for form in ("csv", "json")]
    assert [done.stderr.splitlines()[-1] for done in told] == ["k.csv: 5 rows", "k.json: 5 rows"]
    rows = list(csv.DictReader((tmp_path / "k.csv").read_text().splitlines()))
    assert rows == json.loads((tmp_path / "k.json").read_text())["rows"]
    by_type = {row["instance_type"]: row for row in rows}
    assert list(by_type) == [one.name for one in TYPES]
    wanted = ("claim", "outcome", "reason", "clock", "zone", "image", "kernel", "driver", "chrony", "claim_then")
    assert [by_type["t2.micro"][key] for key in wanted] == [
        "unsupported",
        "PASS",
        "synchronised",
        "yes",
        "eu-north-1a",
        "al2023",
        "6.12.107+deb13-amd64",
        "2.17.0g",
        "4.6.1",
        "unsupported",
    ]
    assert (by_type["c8g.large"]["claim"], by_type["c8g.large"]["run"]) == ("supported", "")
    assert by_type["m7i.large"]["clock"] == ""


def test_the_labs_types(call: Call) -> None:
    plain = call("types", "--bench", "lab")
    assert plain.stdout.splitlines()[:2] == [
        "TYPE                     WHAT IT IS LIKE",
        "lab.phc                  a good clock, switched on when the host starts",
    ]
    told = json.loads(call("types", "--bench", "lab", "--measured", "--json").stdout)
    assert told["types"][0] == {
        "name": "lab.phc",
        "summary": "a good clock, switched on when the host starts",
        "measured": None,
        "contradiction": None,
    }


# --- against moto ---------------------------------------------------------------------------------------------------


@pytest.fixture
def here(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command within this process, whose patience with moto is longer than a user's with AWS."""
    monkeypatch.setenv("PTP_HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_REGION", "me-south-1")
    return lambda *words: CliRunner().invoke(app, ["types", *words], catch_exceptions=False)


def document(done: Result) -> dict[str, Any]:
    """What was printed, without the words of moto, which speaks within this process."""
    return dict(json.loads(done.stdout[done.stdout.index("{\n") :]))


def test_asked_of_moto_then_offline(here: Callable[..., Result]) -> None:
    asked = here("--phc", "any", "--json")
    assert asked.exit_code == 0, asked.output
    told = document(asked)
    assert (told["region"], len(told["types"]) > 200) == ("me-south-1", True)
    assert "on-demand prices unknown: AWS did not give them" in asked.stderr
    again = document(here("--offline", "--json"))
    assert (again["types"], again["taken"]) == (told["types"], told["taken"])
    priced = document(here("--spot", "--json", "--family", "m5", "--limit", "1"))
    assert priced["types"][0]["price_per_hour_usd"] == 0.00001
