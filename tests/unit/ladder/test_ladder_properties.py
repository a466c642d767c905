"""Taking evidence away never makes a verdict PASS; adding some never turns PASS into UNSUPPORTED.

Evidence is the good host with random harm done to it; what is taken away is any set of parts, at any depth: a part that
may be absent becomes None, a sample vanishes (with the last ones goes the closing line).
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.campaign.limits import Requirement
from harness.ladder import judge
from harness.model import (
    Claim,
    Depth,
    DriverWord,
    Evidence,
    Launch,
    Offer,
    Outcome,
    Placement,
    Reach,
    Reason,
    RungName,
    RungStatus,
    Sample,
    Verdict,
)

Path = tuple[str | int, ...]
SAMPLES = 8
NOT_ABSENCE = {("PhcCounters", "err_eb")}
"""None in err_eb is itself an observation: this driver has no such counter."""


@pytest.fixture(scope="session")
def small(good: Evidence) -> Evidence:
    """The good host with few samples, so that harm and loss matter."""
    assert good.samples is not None
    return replace(good, samples=good.samples[:SAMPLES], slots=SAMPLES)


@pytest.fixture(scope="session")
def lenient(required: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
    """The same limits, judged from three samples on."""
    return tuple(replace(one, min_samples=min(one.min_samples, 3)) for one in required)


def verdict(evidence: Evidence, required: tuple[Requirement, ...], depth: Depth, read_only: bool) -> Verdict:
    return judge(evidence, required, depth=depth, read_only=read_only)


# --- harm -----------------------------------------------------------------------------------------------------------


def sampled(change: Callable[[Sample], Sample]) -> Callable[[Evidence, int], Evidence]:
    def harm(evidence: Evidence, number: int) -> Evidence:
        assert evidence.samples is not None
        return replace(
            evidence,
            samples=tuple(change(one) if one.slot == number else one for one in evidence.samples),
        )

    return harm


def tracked(**changes: int) -> Callable[[Evidence, int], Evidence]:
    def change(one: Sample) -> Sample:
        return replace(one, tracking=one.tracking and replace(one.tracking, **changes))

    return sampled(change)


def sourced(number: int, **changes: Any) -> Callable[[Evidence, int], Evidence]:
    def change(one: Sample) -> Sample:
        sources = list(one.sources or ())
        if sources:
            sources[number] = replace(sources[number], **changes)
        return replace(one, sources=tuple(sources))

    return sampled(change)


def counted(one: Sample) -> Sample:
    return replace(one, counters=one.counters and replace(one.counters, err_ts=40, skp=40))


def late_counted(one: Sample) -> Sample:
    return replace(one, counters=one.counters and replace(one.counters, cnt=1))


def backwards(one: Sample) -> Sample:
    return replace(one, reads=tuple(replace(read, phc_ns=read.phc_ns - 10**10) for read in one.reads or ()))


def slow_phc(one: Sample) -> Sample:
    return replace(one, reads=tuple(replace(read, phc_ns=read.phc_ns - 10**6) for read in one.reads or ()))


def in_facts(**changes: Any) -> Callable[[Evidence, int], Evidence]:
    return lambda evidence, _: replace(evidence, facts=evidence.facts and replace(evidence.facts, **changes))


def in_final(**changes: Any) -> Callable[[Evidence, int], Evidence]:
    return lambda evidence, _: replace(
        evidence, final_facts=evidence.final_facts and replace(evidence.final_facts, **changes)
    )


def in_all(**changes: Any) -> Callable[[Evidence, int], Evidence]:
    return lambda evidence, _: replace(evidence, **changes)


def again(evidence: Evidence, _: int) -> Evidence:
    inner = replace(evidence, rebooted=None, facts=evidence.facts and replace(evidence.facts, boot_id="another"))
    return replace(evidence, rebooted=inner)


HARMS: tuple[Callable[[Evidence, int], Evidence], ...] = (
    tracked(last_offset_ns=10**7),
    tracked(root_dispersion_ns=10**8),
    tracked(system_offset_ns=-(10**6)),
    sourced(0, state="?"),
    sourced(0, name="GPS"),
    sourced(1, offset_ns=10**7),
    sourced(1, offset_ns=-(10**10)),
    sourced(1, last_rx_s=9),
    sourced(1, reach=0),
    sampled(counted),
    sampled(late_counted),
    sampled(backwards),
    sampled(slow_phc),
    sampled(lambda one: replace(one, reads=(), read_errors=5)),
    sampled(lambda one: replace(one, read_errors=3)),
    sampled(lambda one: replace(one, error_bound_ns=10**6)),
    in_facts(clocks=()),
    in_facts(competitors=("ntpd",)),
    in_facts(interference=True),
    in_facts(converged=False),
    in_facts(converged_after_s=500.0),
    in_facts(sources=()),
    in_facts(error_bound_published=False),
    in_facts(counters_published=False),
    in_facts(read_errors=2),
    in_facts(driver_word=DriverWord.NOT_SUPPORTED_BY_DEVICE, driver_word_text="said"),
    in_facts(ntp_stratum=3),
    in_final(competitors=("ntpd",)),
    in_final(interference=True),
    in_final(sources=()),
    in_all(offer=Offer(available=False, where="nowhere")),
    in_all(launch=Launch(failure=Reason.CAPACITY, detail="no room")),
    in_all(reach=Reach(reached=False, tries=5, detail="silence")),
    in_all(placement=Placement(precise=False, detail="elsewhere")),
    in_all(claim=Claim(phc_supported=False, source="an API", date="2026-11-21")),
    in_all(trouble="a stage failed"),
    in_all(lost="the network went away"),
    in_all(interrupted=True),
    again,
)


# --- loss -----------------------------------------------------------------------------------------------------------


@cache
def may_be_absent(kind: type, name: str) -> bool:
    hint = typing.get_type_hints(kind)[name]
    optional = isinstance(hint, types.UnionType) and types.NoneType in typing.get_args(hint)
    return optional and (kind.__name__, name) not in NOT_ABSENCE


def removable(value: object, path: Path = ()) -> Iterator[Path]:
    """Paths of everything that may be absent, at any depth, and of every sample."""
    if isinstance(value, tuple):
        for number, item in enumerate(value):
            if isinstance(item, Sample):
                yield (*path, number)
            yield from removable(item, (*path, number))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if inner is not None and may_be_absent(type(value), field.name):
                yield (*path, field.name)
            yield from removable(inner, (*path, field.name))


def without(value: Any, paths: set[Path], path: Path = ()) -> Any:
    """The same value without what the paths name."""
    if isinstance(value, tuple):
        kept = [(number, item) for number, item in enumerate(value) if (*path, number) not in paths]
        return tuple(without(item, paths, (*path, number)) for number, item in kept)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        at = (*path, field.name)
        changes[field.name] = None if at in paths else without(getattr(value, field.name), paths, at)
    return replace(value, **changes)


harms = st.lists(st.tuples(st.sampled_from(HARMS), st.integers(0, SAMPLES - 1)), max_size=5)
how = st.fixed_dictionaries({"depth": st.sampled_from(list(Depth)), "read_only": st.booleans()})
with_fixtures = settings(
    max_examples=3 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def harmed(evidence: Evidence, chosen: list[tuple[Callable[[Evidence, int], Evidence], int]]) -> Evidence:
    for harm, number in chosen:
        evidence = harm(evidence, number)
    return evidence


@pytest.mark.slow
@given(data=st.data(), chosen=harms, how=how)
@with_fixtures
def test_taking_evidence_away_never_makes_a_pass(
    small: Evidence, lenient: tuple[Requirement, ...], data: st.DataObject, chosen: Any, how: Any
) -> None:
    whole = harmed(small, chosen)
    paths = sorted(removable(whole), key=str)
    lost = data.draw(st.sets(st.sampled_from(paths), max_size=8))
    part = without(whole, lost)
    if verdict(part, lenient, **how).outcome is Outcome.PASS:
        assert verdict(whole, lenient, **how).outcome is Outcome.PASS


@given(data=st.data(), chosen=harms, how=how)
@with_fixtures
def test_adding_evidence_never_turns_a_pass_into_unsupported(
    small: Evidence, lenient: tuple[Requirement, ...], data: st.DataObject, chosen: Any, how: Any
) -> None:
    """From a pass with parts left out, to the same with those parts there and harmed."""
    told = harmed(again(small, 0), chosen)
    part = replace(
        told,
        **dict.fromkeys(data.draw(st.sets(st.sampled_from(("offer", "claim", "launch", "reach", "placement"))))),
    )
    if verdict(part, lenient, **how).outcome is Outcome.PASS:
        assert verdict(told, lenient, **how).outcome is not Outcome.UNSUPPORTED


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "read_only"), [*((depth, False) for depth in Depth), (Depth.STANDARD, True)])
def test_no_single_part_of_a_harmed_host_hides_its_harm(
    small: Evidence, lenient: tuple[Requirement, ...], depth: Depth, read_only: bool
) -> None:
    """Every harm with every single loss: what random search could miss."""
    host, number = small, SAMPLES - 2
    if depth is Depth.FULL:  # twice as many parts: fewer samples, so that it ends soon
        assert small.samples is not None
        host, number = again(replace(small, samples=small.samples[:4]), 0), 2
    for harm in HARMS:
        whole = harm(host, number)
        if verdict(whole, lenient, depth, read_only).outcome is Outcome.PASS:
            continue
        for path in removable(whole):
            part = without(whole, {path})
            assert verdict(part, lenient, depth, read_only).outcome is not Outcome.PASS, (harm, path)


def test_the_good_host_passes_and_each_kind_of_harm_is_felt(small: Evidence, lenient: tuple[Requirement, ...]) -> None:
    """Else the properties above would hold for nothing."""
    assert verdict(small, lenient, Depth.STANDARD, False).outcome is Outcome.PASS
    felt = [harm for harm in HARMS if verdict(harm(small, SAMPLES - 2), lenient, Depth.STANDARD, False) != verdict(
        small, lenient, Depth.STANDARD, False)]  # fmt: skip
    assert len(felt) > len(HARMS) / 2
    assert len(list(removable(small))) > 8 * SAMPLES


@pytest.mark.slow
@given(data=st.data(), chosen=harms, how=how)
@with_fixtures
def test_a_verdict_is_its_first_unproven_rung(
    small: Evidence, lenient: tuple[Requirement, ...], data: st.DataObject, chosen: Any, how: Any
) -> None:
    whole = harmed(small, chosen)
    lost = data.draw(st.sets(st.sampled_from(sorted(removable(whole), key=str)), max_size=4))
    found = verdict(without(whole, lost), lenient, **how)
    names = [rung.name for rung in found.rungs]
    reached = [rung for rung in found.rungs if rung.status is not RungStatus.NOT_REACHED]
    assert names == list(RungName)
    assert found.sentence
    if found.outcome is Outcome.PASS:
        assert reached == list(found.rungs)
    else:
        assert reached[-1].status in (RungStatus.FAILED, RungStatus.NOT_OBSERVED)
        assert reached[-1].reason is found.reason
