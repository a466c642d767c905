"""Define what the ledger tells: lines of runs, hosts, steps and verdicts."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.analysis.claims import has_clock
from harness.model import HostRecord, HostState, Outcome, RunRecord, Stage, Token
from harness.store.owners import OwnerLine
from harness.store.run_query import RunState
from harness.untrusted.plain_text import printable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_MOST_CHARACTERS = 128


@cache
def host_adapter() -> "TypeAdapter[HostRecord]":
    """Load pydantic and build the type adapter of host records, when the first record is read or written."""
    from pydantic import TypeAdapter

    return TypeAdapter(HostRecord)


def host_columns(record: HostRecord) -> dict[str, Any]:
    """Make the columns of a row of HOSTS that hold and repeat a record."""
    bound = record.quality.widest_bound_ns if record.quality else None
    return {
        "record": host_adapter().dump_python(record, mode="json"),
        "outcome": record.verdict.outcome,
        "has_clock": has_clock(record),
        "region": record.region,
        "offset_p99_ns": record.quality.offset_ns.p99_abs if record.quality else None,
        "bound_p99_ns": bound.p99_abs if bound else None,
        **_environment_columns(record),
    }


def _environment_columns(record: HostRecord) -> dict[str, str | None]:
    """Make the columns that tell in what environment the clock was measured. A host may claim any text."""
    facts = record.facts
    driver = facts.versioned_driver if facts else None
    texts = {
        "image": record.image or (facts.os if facts else None),
        "kernel": facts.kernel if facts else None,
        "driver": None if driver is None else f"{driver.name} {driver.version}",
    }
    return {name: None if text is None else printable(text)[:_MOST_CHARACTERS] for name, text in texts.items()}


@cache
def run_adapter() -> "TypeAdapter[RunRecord]":
    """Build the type adapter of run records, as `host_adapter` does."""
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run as the list of runs shows it. `owner` leads the run; `ended`: the run was closed.

    `holds_passed`: hosts that pass stay, undecided, until the leader settles them. `stopping`: all who work on its
    hosts are asked to end them.
    """

    run: str
    bench: str
    started_ns: int
    owner: OwnerLine
    attempt: int
    ended: bool
    holds_passed: bool = False
    stopping: bool = False

    def alive(self) -> bool:
        """Whether the run's owner still leads it."""
        return not self.ended and self.owner.alive()

    def died(self) -> bool:
        """Whether the run's owner died before it closed the run."""
        return not self.ended and not self.alive()

    @property
    def state(self) -> RunState:
        """Whether it has ended, is under way, or died."""
        return RunState.ENDED if self.ended else RunState.UNDER_WAY if self.alive() else RunState.DIED


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """A host in the ledger: `record` is None before its verdict, `state` before its release.

    `attempt` is 0 before the host was begun. `kept_until_ns`: the end of a kept host's lease.
    """

    run: str
    host: str
    instance_type: str
    attempt: int
    state: HostState | None
    record: HostRecord | None
    kept_until_ns: int | None = None
    kept_by: str | None = None

    @property
    def token(self) -> Token:
        """The token of the host's latest attempt."""
        return Token(run=self.run, host=self.host, attempt=max(1, self.attempt))

    def lease_ended(self, now_ns: int) -> bool:
        """Whether it was kept, and its lease has ended."""
        return self.state is HostState.KEPT and self.kept_until_ns is not None and self.kept_until_ns <= now_ns

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of all attempts so far; none before the first."""
        return tuple(Token(run=self.run, host=self.host, attempt=number) for number in range(1, self.attempt + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSummary:
    """A host as the list of runs counts it. `begun_ns`: start of its provisioning.

    `kept_until_ns`, `kept_by`: of a kept host, the end of its lease (None: no lease ends it) and who keeps it.
    `offset_p99_ns`, `bound_p99_ns`: what 99 % of the sizes of its offset and of its bound are within.
    """

    run: str
    host: str
    instance_type: str
    state: HostState | None
    outcome: Outcome | None
    begun_ns: int | None
    kept_until_ns: int | None
    kept_by: str | None
    offset_p99_ns: float | None = None
    bound_p99_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A step of a host. `ended_ns` is None for a step whose effect is unknown."""

    token: str
    stage: Stage
    begun_ns: int
    ended_ns: int | None
    result: str | None

    @property
    def run(self) -> str:
        """The name of the run, by the token."""
        return self.token.split("/")[0]

    @property
    def host(self) -> str:
        """The name of the host, by the token."""
        return self.token.split("/")[1]

    @property
    def attempt(self) -> int:
        """The number of the attempt at the host, by the token."""
        return int(self.token.split("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """A host with its verdict, and its run: the start, the bench, and the campaign's Region and image."""

    run: str
    bench: str
    started_ns: int
    region: str | None
    image: str | None
    record: HostRecord
