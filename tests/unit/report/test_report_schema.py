"""The published schema of the report: every report satisfies it, and no other document does."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import ladder
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.model import Claim, Depth, Evidence, HostRecord, HostState, Outcome, Reason, Resource, RunRecord, Stage
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.report.document_meanings import MEANINGS
from harness.report.formats import Format, render
from harness.report.report_schema import json_schema
from tests.doubles.records import make_host, make_verdict

LAB = Path(__file__).parents[2] / "data" / "lab"
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def record(*hosts: HostRecord, **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run": "k3f9",
        "bench": "lab",
        "started": "2026-11-21T04:00:00+00:00",
        "seconds": 178.4,
        "interrupted": False,
        "hosts": hosts,
        "leftovers": (),
    }
    return RunRecord(**(values | changes))


def recorded_host(name: str) -> HostRecord:
    """A host of the lab whose raw output is in tests/data, judged."""
    folder = LAB / name
    facts, _ = read_facts((folder / "facts.json").read_text(), where="facts.json")
    evidence = Evidence(facts=facts, final_facts=facts)
    if (folder / "samples.jsonl").is_file():
        samples, _, slots = read_samples((folder / "samples.jsonl").read_text(), where="samples.jsonl")
        evidence = replace(evidence, samples=samples, slots=slots)
    verdict = ladder.judge(evidence, limits.requirements("lab"), depth=Depth.STANDARD, read_only=False)
    quality = compute_quality(evidence, interval_s=1.0)
    return make_host(name=f"lab.{name}", verdict=verdict, facts=facts, quality=quality, stages={Stage.MEASURE: 20.0})


def reported(run: RunRecord) -> Any:
    return json.loads(render(run, Format.JSON))


NAMES = sorted(path.name for path in LAB.iterdir() if path.is_dir())
LEFT = Resource(token="k3f9/a/1", kind="qemu", name="4711", detail="", expires="2026-11-21T06:00:00+00:00")
UNSUPPORTED = make_verdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_PHC, remedy="take another type")
RUNS = {
    "no host": record(),
    "a bare host": record(make_host()),
    "a kept host": record(make_host(state=HostState.KEPT, address="10.0.0.5", cost_usd=0.01)),
    "an unsupported host": record(make_host(verdict=UNSUPPORTED)),
    "an expected verdict": record(make_host(verdict=UNSUPPORTED, expected="no_phc")),
    "of a cloud": record(
        make_host(
            zone="eu-north-1a",
            region="eu-north-1",
            image="al2023",
            claim=Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-01"),
            api_calls=1.5,
        ),
        bench="ec2",
        api_calls=12,
    ),
    "left running": record(make_host(state=HostState.FAILED), leftovers=(LEFT,), interrupted=True),
    "our fault": record(make_host(), failures=("the report could not be written",), evidence_unsent="no network"),
    "with settings": record(
        make_host(), version="0.1.0", depth=Depth.FULL, measure_duration_s=60.0, measure_interval_s=1.0
    ),
    **{f"recorded: {name}": record(recorded_host(name)) for name in NAMES},
}


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["title"].startswith("Report of a run, schema 1, as ptp-harness ")
    assert "$id" not in SCHEMA


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_every_report_satisfies_the_schema(run: RunRecord) -> None:
    VALIDATOR.validate(reported(run))


def test_a_host_with_everything_satisfies_the_schema(good: Evidence) -> None:
    verdict = ladder.judge(good, limits.requirements("ec2"), depth=Depth.STANDARD, read_only=False)
    host = make_host(verdict=verdict, facts=good.facts, quality=compute_quality(good, interval_s=1.0))
    VALIDATOR.validate(reported(record(host)))


def objects() -> Iterator[dict[str, Any]]:
    """Every object of the schema that has keys of its own."""
    yield from (node for node in (SCHEMA, *SCHEMA["$defs"].values()) if "properties" in node)


def test_every_key_has_its_meaning_and_none_is_left_over() -> None:
    assert all(key["description"] for node in objects() for key in node["properties"].values())
    named = {name: set(node["properties"]) for name, node in SCHEMA["$defs"].items() if "properties" in node}
    named["RunDocument"] = set(SCHEMA["properties"])
    assert {name: set(meanings) for name, meanings in MEANINGS.items()} == named


def test_a_quantity_has_its_unit_in_its_name_or_its_meaning() -> None:
    units = {"_ns": "nanosecond", "_s": "second", "_ppb": "parts per billion", "_ppm": "parts per million"}
    silent = [
        (name, key["description"])
        for node in objects()
        for name, key in node["properties"].items()
        for ending, unit in units.items()
        if name.endswith(ending) and "boolean" not in json.dumps(key) and unit not in key["description"]
    ]
    assert silent == []


# --- what does not satisfy it -----------------------------------------------------------------------------------------


def shortened(value: Any) -> Any:
    """The document with one item of each list, so that each place is changed once."""
    if isinstance(value, list):
        return [shortened(each) for each in value[:1]]
    return {key: shortened(each) for key, each in value.items()} if isinstance(value, dict) else value


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a document."""
    yield path
    inner = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.fixture(scope="module")
def document() -> Any:
    """A report with a value in most of its places."""
    host = recorded_host("drifting")
    assert host.facts is not None
    return shortened(reported(record(host, leftovers=(LEFT,))))


def accepted(document: Any, change: Callable[[Any, str | int], None]) -> list[tuple[str | int, ...]]:
    """The places that can be changed without an error of the schema."""
    wrong = []
    for path in places(document):
        if path:
            changed = copy.deepcopy(document)
            change(at(changed, path[:-1]), path[-1])
            wrong += [path] if changed != document and VALIDATOR.is_valid(changed) else []
    return wrong


def test_a_value_of_a_wrong_type_does_not(document: Any) -> None:
    VALIDATOR.validate(document)
    assert len(list(places(document))) > 200

    def spoil(container: Any, key: str | int) -> None:
        container[key] = {"wrong": "type"}

    assert accepted(document, spoil) == []


def test_a_missing_key_does_not(document: Any) -> None:
    def drop(container: Any, key: str | int) -> None:
        if isinstance(container, dict) and key not in tuple(Stage):
            del container[key]

    assert accepted(document, drop) == []


def test_an_unknown_key_does_not(document: Any) -> None:
    def add(container: Any, key: str | int) -> None:
        if isinstance(container, dict):
            container["unheard_of"] = 1

    assert accepted(document, add) == []


def test_a_verdict_that_there_is_not_does_not(document: Any) -> None:
    VALIDATOR.validate(document)
    document = copy.deepcopy(document)
    document["hosts"][0]["outcome"] = "GOOD"
    assert not VALIDATOR.is_valid(document)
