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
from harness.service.submission import make_task, read_campaign
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


@pytest.mark.parametrize("host", ["localhost", "169.254.169.254", "[::1]", "2130706433", "db", "nas.lan", "10.1"])
def test_no_archive_is_of_the_own_network(host: str, benches: Benches) -> None:
    text = f"instance_types: [lab.phc]\ndriver: {{archive: 'https://{host}/a', sha256: {'a' * 64}}}\n"
    assert mistakes_in(text, benches) == [(2, "driver.archive")]
    assert read(text.replace(host, "nobody-knows-this.example.org"), benches), "names are not looked up"


def test_archives_come_only_from_hosts_that_are_allowed(benches: Benches) -> None:
    archive = f"driver: {{archive: https://files.test/ena.tar.gz, sha256: {'a' * 64}}}\n"
    text = f"instance_types: [lab.phc]\n{archive}"
    assert read(text, benches, hosts=["files.test"])
    assert mistakes_in(text, benches, hosts=["other.test"]) == [(2, "driver.archive")]


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
        make_task(text, requested, submitter="ada", requested_site="rack7", site="rack7"),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert make_task(text, requested, submitter="bob").fingerprint == task.fingerprint
    assert make_task(text, requested, submitter="ada", site="chosen").fingerprint == task.fingerprint
