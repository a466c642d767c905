"""What somebody may submit: a campaign whose every mistake is named with its line, and that reads no file here."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import wiring
from harness.campaign.mistakes import MistakesError
from harness.errors import RequestError
from harness.runs.prepare import Benches
from harness.service import submission
from harness.service.submission import is_public, make_task, read_campaign
from harness.system import settings
from harness.untrusted.input_checks import show_path


@pytest.fixture
def benches(tmp_path: Path) -> Benches:
    return wiring.benches(settings.load({"PTP_HARNESS_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)}))


def read(text: str, benches: Benches, *, offered: Sequence[str] = ("lab", "ec2"), hosts: Sequence[str] = ()) -> object:
    return read_campaign(text, benches=benches, offered=offered, hosts_allowed=hosts)


def mistakes_in(text: str, benches: Benches, **more: Sequence[str]) -> list[tuple[int | None, str]]:
    with pytest.raises(MistakesError) as caught:
        read(text, benches, **more)
    return [(line, show_path(path)) for line, path, _ in caught.value.mistakes]


def test_a_campaign_is_read_from_yaml_and_from_json_alike(benches: Benches) -> None:
    written = {"instance_types": ["lab.phc", "lab.no-phc"], "measure": {"duration": "40s"}}
    text = "instance_types: [lab.phc, lab.no-phc]\nmeasure: {duration: 40s}\n"
    assert read(text, benches) == read(json.dumps(written), benches)


def test_all_mistakes_are_named_with_their_lines(benches: Benches) -> None:
    text = "instance_types: [lab.phc]\nkept: none\nmeasure:\n  duration: soon\nparallel: 0\n"
    assert mistakes_in(text, benches) == [(2, "kept"), (4, "measure.duration"), (5, "parallel")]


def test_unknown_types_of_the_lab_are_named_with_their_lines(benches: Benches) -> None:
    assert mistakes_in("depth: quick\ninstance_types:\n- lab.phc\n- lab.phx\n", benches) == [(4, "instance_types.1")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("bench: hosts\ninventory: /etc/passwd\ninstance_types: [all]\n", "inventory"),
        ("instance_types: [lab.phc]\nkeep: ask\n", "keep"),
        ("instance_types: [lab.phc]\nlimits: {profile: /etc/shadow.yaml}\n", "limits.profile"),
        ("instance_types: [lab.phc]\nlimits: {profile: ../mine.yml}\n", "limits.profile"),
        (f"instance_types: [lab.phc]\ndriver: {{archive: /etc/shadow, sha256: {'a' * 64}}}\n", "driver.archive"),
        (f"instance_types: [lab.phc]\ndriver: {{archive: file:///etc/shadow, sha256: {'a' * 64}}}\n", "driver.archive"),
        (
            f"instance_types: [lab.phc]\ndriver: {{archive: http://example.com/a, sha256: {'a' * 64}}}\n",
            "driver.archive",
        ),
        (
            f"instance_types: [lab.phc]\ndriver: {{archive: https://127.0.0.1/a, sha256: {'a' * 64}}}\n",
            "driver.archive",
        ),
    ],
)
def test_no_campaign_reads_the_files_or_the_network_of_the_service(text: str, key: str, benches: Benches) -> None:
    assert key in [name for _, name in mistakes_in(text, benches, offered=("lab", "ec2", "hosts"))]


def test_archives_come_only_from_hosts_that_are_allowed(benches: Benches) -> None:
    archive = f"driver: {{archive: https://files.test/ena.tar.gz, sha256: {'a' * 64}}}\n"
    text = f"instance_types: [lab.phc]\n{archive}"
    assert read(text, benches, hosts=["files.test"])
    assert mistakes_in(text, benches, hosts=["other.test"]) == [(2, "driver.archive")]


@pytest.mark.parametrize(
    ("addresses", "public"),
    [
        (["203.0.113.9"], False),  # of documentation
        (["93.184.215.14"], True),
        (["93.184.215.14", "10.0.0.1"], False),
        (["169.254.169.254"], False),
        (["::1"], False),
        (["fe80::1%eth0"], False),
        (["::ffff:127.0.0.1"], False),
        (["2606:2800:21f:cb07:6820:80da:af6b:8b2c"], True),
        ([], False),
    ],
)
def test_an_address_is_public_or_it_is_not(addresses: list[str], public: bool) -> None:
    assert is_public("host.test", lambda *_: [(0, 0, 0, "", (address, 443)) for address in addresses]) is public


def test_a_host_without_an_address_is_not_public() -> None:
    def fail(*_arguments: object) -> list[tuple[object, ...]]:
        raise OSError("no such host")

    assert is_public("host.test", fail) is False
    assert is_public("a" * 70 + ".test") is False


def test_a_bench_that_the_service_does_not_offer_is_refused(benches: Benches) -> None:
    assert mistakes_in("instance_types: [lab.phc]\n", benches, offered=("ec2",)) == [(1, "bench")]


def test_what_is_no_yaml_is_refused_with_its_line(benches: Benches) -> None:
    with pytest.raises(RequestError, match=r"campaign\.yaml:2"):
        read("instance_types: [lab.phc]\n  keep: [\n", benches)


def test_the_fingerprint_tells_requests_apart(benches: Benches) -> None:
    text = "instance_types: [lab.phc, lab.phc]\n"
    requested = submission.read_campaign(text, benches=benches, offered=("lab",), hosts_allowed=())
    task = make_task(text, requested, submitter="ada")
    assert (task.hosts, task.bench, task.document) == (2, "lab", text)
    assert task.expected_s > 0
    others = [
        make_task(text + " ", requested, submitter="ada"),
        make_task(text, requested, submitter="ada", priority=1),
        make_task(text, requested, submitter="ada", site="rack7"),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert make_task(text, requested, submitter="bob").fingerprint == task.fingerprint
