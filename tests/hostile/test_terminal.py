"""No verb lets a host, a tag or a file steer the terminal of who reads, nor hide text from them."""

import dataclasses
import enum
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from harness import ladder
from harness.campaign import limits
from harness.cli import app
from harness.model import Claim, Depth, Evidence, HostRecord, HostState, Resource, RunRecord
from harness.probes import facts, samples
from harness.report.formats import Format
from harness.store.ledger import Ledger
from harness.untrusted.plain_text import bounded, printable

DATA = Path(__file__).parents[1] / "data" / "lab"
CANARY = "\x1b]52;c;cHduZWQ=\x07\x1b[2J\x9b2J\u202egnp.exe\u2066\u200b\U000e0041\ud800"
Call = Callable[..., tuple[int, str, str]]


def spoilt(value: Any) -> Any:
    """The same plain data with the canary at the end of every text in it."""
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value + CANARY
    if isinstance(value, tuple):
        return tuple(spoilt(one) for one in value)
    if isinstance(value, dict):
        return {key: spoilt(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {field.name: spoilt(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """The command in this process: its exit code and both outputs."""
    monkeypatch.setenv("PTP_HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PTP_HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["ptp-harness", *words])
        try:
            app.main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
        out, err = capfd.readouterr()
        return int(code or 0), out, err

    yield run
    os.umask(umask)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run in the books whose every text ends with the canary."""
    read, refused = facts.read_facts((DATA / "drifting" / "facts.json").read_text(), where="f")
    taken, _, slots = samples.read_samples((DATA / "drifting" / "samples.jsonl").read_text(), where="s")
    evidence = spoilt(
        Evidence(facts=read, final_facts=read, samples=taken, slots=slots, unparsed=refused, trouble="trouble")
    )
    verdict = ladder.judge(evidence, limits.requirements("lab"), depth=Depth.STANDARD, read_only=False)
    host = HostRecord(
        name="lab.drifting",
        instance_type="lab.drifting",
        verdict=bounded(spoilt(verdict), characters=2000),
        facts=bounded(spoilt(read)),
        stages={},
        state=HostState.KEPT,
        address=printable(CANARY),
        zone=bounded(CANARY),
        region=bounded(CANARY),
        image=bounded(CANARY),
        claim=Claim(phc_supported=False, source=bounded(CANARY), date="2026-11-21"),
    )
    (tmp_path / "state").mkdir(mode=0o700)
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    name = ledger.open_run(bench="lab", campaign={"region": bounded(CANARY)}, hosts={"lab.drifting": "lab.drifting"})
    token = ledger.own_host(name, "lab.drifting").token
    step = ledger.begin_step(token, ladder_stage())
    ledger.end_step(step, bounded(f"RuntimeError: {CANARY}"))
    ledger.record_state(token, host)
    left = Resource(token=f"{name}/lab.drifting/1", kind=bounded(CANARY), name=bounded(CANARY), detail=bounded(CANARY))
    ledger.close_run(
        RunRecord(
            run=name,
            bench="lab",
            started="2026-11-21",
            seconds=1.0,
            interrupted=False,
            hosts=(host,),
            leftovers=(left,),
            failures=(bounded(f"writing {CANARY}"),),
        )
    )
    ledger.close()
    return name


def ladder_token(run: str) -> Any:
    from harness.model import Token

    return Token(run=run, host="lab.drifting")


def ladder_stage() -> Any:
    from harness.model import Stage

    return Stage.MEASURE


def harmless(*outputs: str) -> None:
    for text in outputs:
        assert text == printable(text)


@pytest.mark.parametrize("words", [("runs",), ("runs", "--json"), ("types", "--bench", "lab", "--measured")])
def test_verbs_without_a_run(call: Call, run: str, words: tuple[str, ...]) -> None:
    _, out, err = call(*words)
    harmless(out, err)
    assert run in out + err


@pytest.mark.parametrize("form", Format)
def test_every_form_of_a_report_is_harmless_and_valid(call: Call, run: str, form: Format) -> None:
    code, out, err = call("report", run, "--format", form)
    assert code == 0
    harmless(out, err)
    match form:
        case Format.JSON:
            assert json.loads(out)["run"] == run
        case Format.YAML:
            assert yaml.safe_load(out)["run"] == run
        case Format.JUNIT:
            assert ElementTree.fromstring(out).tag == "testsuites"


@pytest.mark.parametrize(
    "words",
    [
        ("show", "RUN"),
        ("report", "RUN"),
        ("ssh", "RUN", "lab.drifting", "true"),
        ("keep", "RUN", "lab.drifting"),
        ("keep", "RUN", CANARY.replace("\ud800", "")),
        ("show", CANARY.replace("\ud800", "")),
        ("report", CANARY.replace("\ud800", "")),
        ("resume", CANARY.replace("\ud800", "")),
        ("release", "RUN", CANARY.replace("\ud800", "")),
        ("plan", CANARY.replace("\ud800", "")),
        ("run", CANARY.replace("\ud800", "")),
        ("doctor", "--bench", CANARY.replace("\ud800", "")),
        ("lab", "up", CANARY.replace("\ud800", "")),
        ("lab", "down", CANARY.replace("\ud800", "")),
        ("release", "RUN"),
    ],
    ids=lambda words: words[0],
)
def test_verbs_that_name_a_run_or_get_a_hostile_word(call: Call, run: str, words: tuple[str, ...]) -> None:
    _, out, err = call(*(run if word == "RUN" else word for word in words))
    harmless(out, err)
    assert "our fault: " not in err.replace(f"our fault: writing {printable(CANARY)}"[:12], "")
    assert "Traceback" not in err


@pytest.mark.parametrize("yes", [(), ("--yes",)])
def test_what_is_left_in_a_folder_of_a_hostile_name(call: Call, run: str, tmp_path: Path, yes: tuple[str, ...]) -> None:
    name = f"zzzz-lab.x{CANARY.replace(chr(0xD800), '').replace('/', '')}-1"
    (tmp_path / "state" / "lab" / "hosts" / name).mkdir(parents=True)
    _, out, err = call("sweep", *yes)
    harmless(out, err)
    assert "zzzz" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text",
    [
        f"instance_types: ['lab.phc{CANARY[:-1]}']\n",
        f"'{CANARY[7:8]}x': 1\n",
        f"bench: '{CANARY[-6:-1]}'\ninstance_types: [lab.phc]\n",
        f"instance_types: [lab.phc]\nlimits: {{'{CANARY[-6:-1]}': {{p99: 1}}}}\n",
        '"\\ud800": "\\e[2J\\u202e"\n',
        'instance_types: ["\\e]52;c;x\\a", "\\u202e"]\n',
    ],
)
def test_a_campaign_file_with_anything_in_it(call: Call, tmp_path: Path, text: str) -> None:
    (tmp_path / "campaign.yaml").write_text(text)
    for verb in (("campaign", "check"), ("plan",), ("run",)):
        code, out, err = call(*verb, "campaign.yaml")
        assert code == 2
        harmless(out, err)
        assert "Traceback" not in err


@pytest.mark.programs
def test_an_inventory_with_anything_in_it(call: Call, tmp_path: Path) -> None:
    hosts = {f"mine{CANARY[:-1]}": {"ansible_host": CANARY[:-1]}, "ok": {"ansible_user": CANARY[:-1]}}
    (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts}}))
    for verb in ("plan", "run"):
        _, out, err = call(verb, "--inventory", "hosts.yaml", "all", "--read-only")
        harmless(out, err)
        assert "Traceback" not in err


def test_the_canary_is_one() -> None:
    with pytest.raises(AssertionError):
        harmless(CANARY)
