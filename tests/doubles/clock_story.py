"""A ledger with a story to look at: types that pass, fail since some day, cannot be judged, or have no clock.

The clocks are those of hosts of the lab that were recorded, under the names of EC2's types.
"""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from harness import ladder
from harness.analysis.plot_series import reduce_samples
from harness.analysis.quality import compute_quality
from harness.campaign import limits
from harness.campaign.campaign import from_mapping, from_yaml
from harness.campaign.stored import to_document
from harness.model import (
    Claim,
    Depth,
    Event,
    Evidence,
    HostRecord,
    HostState,
    Outcome,
    Reason,
    Rung,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
)
from harness.model.quality import ClockQuality, Distribution
from harness.probes.facts import read_facts
from harness.probes.samples import SampleReader, read_samples
from harness.store import host_evidence, parsed_samples
from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_parts import ATTEMPT_FILE
from harness.store.ledger import Ledger
from harness.store.tables import EVENTS, HOSTS, RUNS, STEPS
from harness.store.task_lines import NewTask
from harness.store.task_queue import TaskQueue
from tests.doubles.records import make_host, make_verdict

LAB = Path(__file__).parents[1] / "data" / "lab"
DAY_NS = 86_400 * 10**9
GOOD, DRIFTING, REFUTED = "driver-off", "drifting", "misled-chronyd"
"""Recorded hosts whose clocks pass, fail, and cannot be judged."""

OLD, NEW = ("6.1.166-197.305.amzn2023.x86_64", "2.13.0g"), ("6.12.58-82.121.amzn2023.x86_64", "2.17.0g")
DEBIAN = ("6.12.107+deb13-cloud-amd64", "6.12.107+deb13-cloud-amd64")


@cache
def recorded_host(name: str) -> HostRecord:
    """Judge a recorded host of the lab."""
    evidence = recorded_evidence(name)
    return make_host(
        verdict=ladder.judge(evidence, limits.requirements("lab"), depth=Depth.STANDARD, read_only=False),
        facts=evidence.final_facts,
        quality=compute_quality(evidence, interval_s=1.0),
        stages={
            Stage.PROVISION: 21.4,
            Stage.REACH: 9.8,
            Stage.CONFIGURE: 48.2,
            Stage.MEASURE: 61.0,
            Stage.RELEASE: 3.1,
        },
        address="10.0.3.17",
        zone="eu-north-1a",
        region="eu-north-1",
        claim=Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-01"),
        cost_usd=0.0123,
        api_calls=31,
    )


@cache
def recorded_evidence(name: str) -> Evidence:
    """Read the evidence of a recorded host of the lab."""
    folder = LAB / name
    facts, _ = read_facts((folder / "facts.json").read_text(), where="facts.json")
    final, _ = read_facts((folder / "facts-final.json").read_text(), where="facts-final.json")
    samples, _, slots = read_samples((folder / "samples.jsonl").read_text(), where="samples.jsonl")
    return Evidence(facts=facts, final_facts=final, samples=samples, slots=slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryHost:
    """A host of a run of the story: what of the lab it is like, and the environment that it has."""

    instance_type: str
    like: str = GOOD
    kernel: str = NEW[0]
    driver: str = NEW[1]
    outcome: Outcome | None = None
    times: float = 1.0
    state: HostState = HostState.RELEASED

    def record(self) -> HostRecord:
        """Its record."""
        if self.outcome is Outcome.UNSUPPORTED:
            return without_clock(self.instance_type)
        if self.outcome is Outcome.INCONCLUSIVE:
            return without_capacity(self.instance_type)
        host = recorded_host(self.like)
        if host.facts is None or host.facts.drivers is None or host.quality is None:
            raise ValueError(f"{self.like} has no figures")
        drivers = tuple(replace(driver, name="ena", version=self.driver) for driver in host.facts.drivers[:1])
        return replace(
            host,
            name=self.instance_type,
            instance_type=self.instance_type,
            facts=replace(host.facts, kernel=self.kernel, drivers=drivers),
            quality=scaled(host.quality, self.times),
            state=self.state,
        )


def scaled(quality: ClockQuality, times: float) -> ClockQuality:
    """Figures so many times as large, as far as lists of runs show them."""
    bound = quality.widest_bound_ns
    return replace(
        quality,
        offset_ns=_scale(quality.offset_ns, times),
        error_bound_ns=None if bound is None else _scale(bound, times),
    )


def _scale(distribution: Distribution, times: float) -> Distribution:
    return Distribution(
        **{name: value if name == "count" else value * times for name, value in asdict(distribution).items()}
    )


def without_clock(instance_type: str) -> HostRecord:
    """A host whose type has no PTP clock."""
    host = recorded_host(GOOD)
    rungs = [*proven("offered", "launched", "reachable"), _rung(RungName.CLAIMED, RungStatus.RECORDED, "not claimed")]
    rungs.append(_rung(RungName.DRIVER_CAPABLE, RungStatus.PROVEN, "ena 2.17.0g has phc_enable"))
    rungs.append(_rung(RungName.CLOCK_PRESENT, RungStatus.FAILED, "/sys/class/ptp is empty", Reason.NO_PHC))
    verdict = make_verdict(
        outcome=Outcome.UNSUPPORTED,
        reason=Reason.NO_PHC,
        sentence="/sys/class/ptp is empty, and the driver says that the device has no clock",
        rungs=tuple(rungs),
        remedy="choose another type: `ptp-harness types --phc supported` lists those that claim one",
    )
    if host.facts is None or host.facts.drivers is None:
        raise ValueError("the recorded host has no facts")
    drivers = tuple(replace(driver, name="ena", version=NEW[1]) for driver in host.facts.drivers[:1])
    facts = replace(host.facts, kernel=NEW[0], clocks=(), drivers=drivers)
    return replace(host, name=instance_type, instance_type=instance_type, verdict=verdict, facts=facts, quality=None)


def without_capacity(instance_type: str) -> HostRecord:
    """A host that was not launched."""
    sentence = "no zone of eu-north-1 has capacity for it (tried 3 times)"
    verdict = make_verdict(
        outcome=Outcome.INCONCLUSIVE,
        reason=Reason.CAPACITY,
        sentence=sentence,
        rungs=(*proven("offered"), _rung(RungName.LAUNCHED, RungStatus.NOT_OBSERVED, sentence)),
        remedy="try again later, or in another Region",
        unobserved=("everything about its clock",),
    )
    return make_host(name=instance_type, instance_type=instance_type, verdict=verdict, region="eu-north-1")


def proven(*names: str) -> list[Rung]:
    """Rungs that are proven."""
    return [_rung(RungName(name), RungStatus.PROVEN, f"{name} was seen") for name in names]


def _rung(name: RungName, status: RungStatus, evidence: str, reason: Reason | None = None) -> Rung:
    return Rung(name=name, status=status, evidence=evidence, reason=reason)


def add_run(
    ledger: Ledger,
    hosts: Sequence[HostRecord],
    *,
    days_ago: float = 0.0,
    bench: str = "ec2",
    image: str | None = None,
    ended: bool = True,
    runs_dir: Path | None = None,
    like: Mapping[str, str] | None = None,
    **campaign: Any,
) -> str:
    """Put a run into a ledger; return its name. `runs_dir`, `like`: with evidence, by the recorded hosts it is of."""
    asked = {"bench": bench, "instance_types": [host.instance_type for host in hosts], **campaign}
    if image is not None:
        asked["image"] = image
    document = to_document(from_mapping(asked))
    run = ledger.open_run(bench=bench, campaign=document, hosts={host.name: host.instance_type for host in hosts})
    for host in hosts:
        token = ledger.own_host(run, host.name).token
        for stage in host.stages:
            step = ledger.begin_step(token, stage)
            if stage is Stage.MEASURE:
                text, at = "32 s of 1 min: PHC0 selected, offset +84 ns", datetime.datetime.now(datetime.UTC)
                ledger.say(Event(run=run, host=host.name, stage=stage, text=text, at=at))
            ledger.end_step(step, "done")
        ledger.record_verdict(token, host)
        kept_until_ns = ledger.now_ns() + 5 * 3600 * 10**9 if host.state is HostState.KEPT else None
        ledger.record_state(token, host, kept_until_ns=kept_until_ns)
        if runs_dir is not None and like is not None and host.name in like:
            write_evidence(runs_dir / run, host, like[host.name])
    if ended:
        ledger.close_run(make_record(run, bench, hosts))
    if days_ago:
        shift(ledger, run, days_ago)
    return run


def make_record(run: str, bench: str, hosts: Sequence[HostRecord]) -> RunRecord:
    """The record of a run that has ended."""
    return RunRecord(
        run=run,
        bench=bench,
        started="2026-11-21T04:00:00+00:00",
        seconds=312.5,
        interrupted=False,
        hosts=tuple(hosts),
        leftovers=(),
        api_calls=212,
        version="0.1.0",
        depth=Depth.STANDARD,
        measure_duration_s=60.0,
        measure_interval_s=1.0,
    )


def shift(ledger: Ledger, run: str, days: float) -> None:
    """Let a run have been so many days ago."""
    ns = round(days * DAY_NS)

    def work(db: sql.Connection) -> None:
        db.execute(RUNS.update().where(RUNS.c.run == run).values(started_ns=RUNS.c.started_ns - ns))
        of_run = STEPS.c.token.startswith(f"{run}/")
        db.execute(STEPS.update().where(of_run).values(begun_ns=STEPS.c.begun_ns - ns, ended_ns=STEPS.c.ended_ns - ns))
        db.execute(EVENTS.update().where(EVENTS.c.run == run).values(at_ns=EVENTS.c.at_ns - ns))

    ledger.flush()
    ledger.database.write(work)


def write_evidence(folder: Path, host: HostRecord, like: str) -> None:
    """Write evidence of a host that is like a recorded one."""
    target = EvidenceFolder.create(folder).host(host.name)
    target.write(ATTEMPT_FILE, "1\n")
    for name in ("facts.json", "facts-final.json", "samples.jsonl"):
        target.write(name, (LAB / like / name).read_bytes())
    target.write("configure.log", "".join(f"TASK [step {number}] ok\n" for number in range(400)))
    evidence = recorded_evidence(like)
    host_evidence.write_evidence(target, evidence)
    reader = SampleReader("samples.jsonl", most=60)
    for line in (LAB / like / "samples.jsonl").read_text().splitlines():
        reader.read_line(line)
    parsed_samples.write_columns(target, "samples.jsonl", reader)
    host_evidence.write_plots(target, reduce_samples(evidence, interval_s=1.0))


def tell_story(ledger: Ledger, runs_dir: Path) -> dict[str, str]:
    """Fill a ledger; return some of its runs by what they are good for."""
    always = ("m7i.large", "c7i.xlarge", "r7i.large", "m7g.medium")
    for number, days_ago in enumerate((75.0, 61.0, 47.0, 33.0)):
        hosts = [StoryHost(instance_type=name, kernel=OLD[0], driver=OLD[1], times=1 + number / 20) for name in always]
        hosts += [StoryHost(instance_type="c8g.large", kernel=OLD[0], driver=OLD[1])]
        hosts += [StoryHost(instance_type="t3.micro", outcome=Outcome.UNSUPPORTED)]
        add_run(ledger, [host.record() for host in hosts], days_ago=days_ago, image="al2023")
    for days_ago in (30.2, 19.7, 12.1):
        hosts = [StoryHost(instance_type=name, kernel=DEBIAN[0], driver=DEBIAN[1], times=0.7) for name in always[:3]]
        add_run(ledger, [host.record() for host in hosts], days_ago=days_ago, image="debian-13")
    found: dict[str, str] = {}
    for days_ago in (17.4, 9.3, 2.6):
        hosts = [StoryHost(instance_type=name, times=0.8) for name in always]
        hosts[1] = StoryHost(instance_type="c7i.xlarge", like=DRIFTING)
        if days_ago < 10:
            hosts[2] = StoryHost(instance_type="r7i.large", outcome=Outcome.INCONCLUSIVE)
        hosts += [StoryHost(instance_type="c8g.large", like=DRIFTING if days_ago < 3 else GOOD, times=1.4)]
        hosts += [StoryHost(instance_type="t3.micro", outcome=Outcome.UNSUPPORTED)]
        hosts += [StoryHost(instance_type="i7ie.2xlarge", outcome=Outcome.INCONCLUSIVE)]
        like = {"m7i.large": GOOD, "c7i.xlarge": DRIFTING, "c8g.large": GOOD if days_ago > 3 else DRIFTING}
        records = [host.record() for host in hosts]
        run = add_run(ledger, records, days_ago=days_ago, image="al2023", runs_dir=runs_dir, like=like)
        found |= {"before": found.get("mixed", run), "mixed": run}
    kept = replace(StoryHost(instance_type="m7i.large", times=0.8).record(), state=HostState.KEPT)
    found["kept"] = add_run(ledger, [kept], days_ago=0.1, image="al2023", keep="supported")
    lab = [replace(recorded_host(name), name=f"lab.{name}", instance_type=f"lab.{name}", region=None, zone=None)
           for name in (GOOD, DRIFTING, REFUTED)]  # fmt: skip
    found["lab"] = add_run(
        ledger, lab, days_ago=0.3, bench="lab", runs_dir=runs_dir, like={host.name: host.name[4:] for host in lab}
    )
    ledger.database.write(lambda db: db.execute(HOSTS.update().where(HOSTS.c.run == found["lab"]).values(region=None)))
    found["task"] = add_task(ledger)
    return found


def add_task(ledger: Ledger, text: str = "bench: lab\ninstance_types: [lab.phc, lab.no-phc]\n") -> str:
    """Submit a campaign that waits; return the name of its task."""
    new = NewTask(
        document=text,
        campaign=to_document(from_yaml(text, where="campaign.yaml")),
        bench="lab",
        hosts=2,
        submitter="ada",
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        expected_s=240.0,
    )
    line, _ = TaskQueue(ledger).submit(new)
    return line.task
