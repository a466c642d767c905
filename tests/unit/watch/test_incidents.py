"""Incidents: one cause on many hosts is one incident that names it, whatever else happens; it ends with hysteresis."""

import random
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.model.enums import Reason
from harness.model.incidents import NO_SAMPLES, Incident
from harness.model.watched import StreamState
from harness.watch.incidents import ALL, NO_CAUSE, QUIET_S, SETTLE_S, TRAITS, Condition, update_incidents

SECOND = 10**9
START = 1_795_233_600 * SECOND


def update_with_members(conditions: list[Condition], going_on: list[Incident], now_ns: int) -> list[Incident] | None:
    """Update incidents with the streams of these alone; None where another stream is bad, for which all are needed."""
    members = {stream for incident in going_on for stream in incident.streams}
    if any(each.kind is not None and each.stream not in members for each in conditions):
        return None
    return update_incidents([each for each in conditions if each.stream in members], going_on, now_ns)


class Fleet:
    """Streams with traits, and the incidents that a leader has told of them."""

    def __init__(self, traits: list[dict[str, str]]) -> None:
        self.now_s = 0
        self.conditions = {
            f"host-{number}": Condition(
                stream=f"host-{number}", state=StreamState.OK, reason=None, since_ns=START - 3600 * SECOND, traits=each
            )
            for number, each in enumerate(traits)
        }
        self.incidents: dict[str, Incident] = {}

    def set(self, stream: str, state: StreamState, reason: Reason | None = None) -> None:
        since_ns = START + self.now_s * SECOND
        condition = self.conditions[stream]
        self.conditions[stream] = replace(condition, state=state, reason=reason, since_ns=since_ns)

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            everything, now_ns = [*self.conditions.values()], START + self.now_s * SECOND
            changed = update_incidents(everything, self.going_on, now_ns)
            assert update_with_members(everything, self.going_on, now_ns) in (None, changed)
            self.incidents |= {each.incident: each for each in changed}

    @property
    def going_on(self) -> list[Incident]:
        return [each for each in self.incidents.values() if each.ended_ns is None]


def same_fleet(count: int = 40) -> Fleet:
    return Fleet(
        [
            {
                "kernel": f"6.1.{number % 4}",
                "driver": "2.17",
                "instance_type": f"m{number % 5}.large",
                "zone": "abc"[number % 3],
                "region": f"r{number % 11}",
                "worker": f"w{number % 7}",
            }
            for number in range(count)
        ]
    )


@given(seed=st.integers(0, 10**6), hosts=st.integers(30, 120), spread_s=st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_one_cause_on_many_hosts_of_one_kernel_is_one_incident_that_names_it(
    seed: int, hosts: int, spread_s: int
) -> None:
    drawn = random.Random(seed)
    choices = {"kernel": 5, "driver": 3, "instance_type": 6, "zone": 3, "worker": 8}
    fleet = Fleet([{name: f"{name}-{drawn.randrange(most)}" for name, most in choices.items()} for _ in range(hosts)])
    with_kernel = [name for name, each in fleet.conditions.items() if each.traits["kernel"] == "kernel-0"]
    assume(len(with_kernel) >= 4)
    at = {stream: drawn.randint(0, spread_s) for stream in with_kernel}
    for second in range(spread_s + 1):
        for stream, when in at.items():
            if when == second:
                fleet.set(stream, StreamState.BROKEN, Reason.NOT_SYNCHRONISED)
        fleet.pass_s(1)
    fleet.pass_s(round(SETTLE_S) + 1)
    (incident,) = fleet.going_on
    assert (incident.cause, set(incident.streams)) == ("kernel kernel-0", set(with_kernel))
    assert incident.kind == "not_synchronised"
    assert "kernel" in incident.recommendation


def test_a_host_alone_is_an_incident_of_its_own_after_a_moment_for_others_to_follow() -> None:
    fleet = same_fleet()
    fleet.set("host-3", StreamState.BROKEN, Reason.PHC_UNREADABLE)
    fleet.pass_s(round(SETTLE_S) - 1)
    assert fleet.going_on == []
    fleet.pass_s(1)
    (incident,) = fleet.going_on
    assert (incident.cause, incident.streams) == ("stream host-3", ("host-3",))
    assert "budget is 125/s" in incident.recommendation


def test_incident_of_one_host_grows_into_that_of_its_worker_under_the_same_name() -> None:
    fleet = same_fleet()
    of_worker = [name for name, each in fleet.conditions.items() if each.traits["worker"] == "w2"]
    fleet.set(of_worker[0], StreamState.UNKNOWN)
    fleet.pass_s(40)
    (alone,) = fleet.going_on
    for stream in of_worker[1:]:
        fleet.set(stream, StreamState.UNKNOWN)
    fleet.pass_s(5)
    (incident,) = fleet.going_on
    assert (incident.incident, incident.cause, incident.kind) == (alone.incident, "worker w2", NO_SAMPLES)
    assert len(fleet.incidents) == 1


def test_incident_that_is_named_too_early_is_named_anew_while_others_follow() -> None:
    fleet = same_fleet(60)
    of_zone = [name for name, each in fleet.conditions.items() if each.traits["zone"] == "a"]
    first = [name for name in of_zone if fleet.conditions[name].traits["kernel"] == "6.1.0"]
    for stream in first:
        fleet.set(stream, StreamState.BROKEN, Reason.OUT_OF_LIMITS)
    fleet.pass_s(35)
    for stream in set(of_zone) - set(first):
        fleet.set(stream, StreamState.BROKEN, Reason.OUT_OF_LIMITS)
    fleet.pass_s(5)
    (incident,) = fleet.going_on
    assert (incident.cause, set(incident.streams)) == ("zone a", set(of_zone))


def test_all_streams_at_once_are_one_incident_of_all() -> None:
    fleet = same_fleet()
    for stream in fleet.conditions:
        fleet.set(stream, StreamState.UNKNOWN, Reason.UNREACHABLE)
    fleet.pass_s(40)
    (incident,) = fleet.going_on
    assert incident.cause == ALL


def test_many_without_a_common_cause_are_one_incident_and_few_are_one_each() -> None:
    fleet = same_fleet(200)
    few = ("host-0", "host-61", "host-122")
    for stream in few:
        fleet.set(stream, StreamState.BROKEN, Reason.OUT_OF_LIMITS)
    fleet.pass_s(40)
    assert len(fleet.going_on) == 3
    other = same_fleet(200)
    for number in range(0, 200, 12):
        other.set(f"host-{number + number // 12 % 4}", StreamState.BROKEN, Reason.OUT_OF_LIMITS)
    other.pass_s(40)
    assert [incident.cause for incident in other.going_on] == [NO_CAUSE]


def test_two_causes_at_once_are_two_incidents() -> None:
    fleet = same_fleet(120)
    kernel = {name for name, each in fleet.conditions.items() if each.traits["kernel"] == "6.1.1"}
    worker = {name for name, each in fleet.conditions.items() if each.traits["worker"] == "w3"} - kernel
    for stream in kernel:
        fleet.set(stream, StreamState.BROKEN, Reason.NOT_SYNCHRONISED)
    for stream in worker:
        fleet.set(stream, StreamState.UNKNOWN)
    fleet.pass_s(40)
    assert {incident.cause: set(incident.streams) for incident in fleet.going_on} == {
        "kernel 6.1.1": kernel,
        "worker w3": worker,
    }


def test_incident_ends_when_all_its_streams_were_good_for_a_while_and_not_before() -> None:
    fleet = same_fleet()
    fleet.set("host-3", StreamState.BROKEN, Reason.PHC_UNREADABLE)
    fleet.pass_s(40)
    for _ in range(10):  # it flaps: that is one incident
        fleet.set("host-3", StreamState.OK)
        fleet.pass_s(round(QUIET_S) - 20)
        fleet.set("host-3", StreamState.BROKEN, Reason.PHC_UNREADABLE)
        fleet.pass_s(10)
    assert len(fleet.incidents) == 1
    fleet.set("host-3", StreamState.OK)
    fleet.pass_s(round(QUIET_S) + 1)
    assert fleet.going_on == []
    assert len(fleet.incidents) == 1


def test_stream_that_is_watched_no_more_holds_no_incident_open() -> None:
    fleet = same_fleet()
    fleet.set("host-3", StreamState.BROKEN, Reason.PHC_UNREADABLE)
    fleet.pass_s(40)
    del fleet.conditions["host-3"]
    fleet.pass_s(1)
    assert fleet.going_on == []


def test_streams_that_have_just_begun_are_no_incident() -> None:
    fleet = same_fleet()
    for stream in fleet.conditions:
        fleet.set(stream, StreamState.UNKNOWN, Reason.TOO_FEW_SAMPLES)
    fleet.pass_s(100)
    assert fleet.incidents == {}


def test_two_leaders_give_an_incident_the_same_name() -> None:
    names = set()
    for _ in range(2):
        fleet = same_fleet()
        fleet.set("host-3", StreamState.BROKEN, Reason.PHC_UNREADABLE)
        fleet.pass_s(40)
        names |= set(fleet.incidents)
    assert len(names) == 1


def test_each_trait_has_a_recommendation() -> None:
    for name in TRAITS:
        fleet = same_fleet(60)
        value = fleet.conditions["host-1"].traits[name]
        chosen = [key for key, each in fleet.conditions.items() if each.traits[name] == value]
        for stream in chosen:
            fleet.set(stream, StreamState.BROKEN, Reason.OUT_OF_LIMITS)
        fleet.pass_s(40)
        (incident,) = fleet.going_on
        assert incident.recommendation
