"""What a source of hosts must be able to do, and the five ways in which it may fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from harness.errors import ExitCode, HarnessError
from harness.model import Machine, Reason, Resource, Token
from harness.model.cloud import PriceTerms

Progress = Callable[[str], None]
"""Takes one short line about what is being done now."""


class BenchError(HarnessError):
    """Provisioning did not give a host. `reason` is what the verdict then says; the code is for where no run is."""

    exit_code = ExitCode.NOT_CONCLUSIVE
    reason: ClassVar[Reason] = Reason.LAUNCH_FAILED


class CapacityError(BenchError):
    """There is no room for this type now; another time or place may have it."""

    reason = Reason.CAPACITY


class QuotaError(BenchError):
    """The account may not have more of these."""

    reason = Reason.QUOTA


class NotOfferedError(BenchError):
    """The type does not exist here."""

    exit_code = ExitCode.BAD_REQUEST
    reason = Reason.NOT_OFFERED


class TransientError(BenchError):
    """It may work when tried again."""


class FatalError(BenchError):
    """Nothing more can be provisioned in this campaign (credentials, permissions)."""

    exit_code = ExitCode.BAD_REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """A type that a bench can provide: one line for people, and the nominal role of the type."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`: what was looked for, whether it is there, and how to get it."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""


class Bench(Protocol):
    """A source of hosts. Every effect is named by its token, so it can be found and removed by anyone later."""

    name: str

    def types(self) -> Mapping[str, InstanceType]:
        """The types that can be asked for."""

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        """The types meant by what was asked for: groups and selections replaced by their members, in order."""

    def checks(self) -> Sequence[Check]:
        """What this bench needs of the machine that we run on."""

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        """Make what all hosts of a campaign share (images, snapshots). Raises SetupError."""

    def terms(self, types: Sequence[str]) -> PriceTerms | None:
        """What hosts of these types are made from and cost, once `prepare` is done. None where they cost nothing."""

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        """A running host, found again by its token when it already exists. Raises BenchError."""

    def find(self, token: Token) -> Machine | None:
        """The running host of this token; None when there is none, and none is made."""

    def release(self, token: Token) -> None:
        """Remove all that carries the token, and verify it. Nothing there is success. Raises CleanupError."""

    def resources(self) -> Sequence[Resource]:
        """All that exists by this bench's own records, whoever made it and whether or not it is still wanted."""

    def api_calls(self, token: Token | None = None) -> float | None:
        """How often a cloud's API was asked for one host, or in all, by this process. None: there is none to ask.

        A call that served several hosts counts for each in part.
        """
