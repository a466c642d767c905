"""Define the interface of a source of hosts (a bench), and its five kinds of failure."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from harness.errors import ExitCode, HarnessError
from harness.model import Machine, Reason, Resource, Token
from harness.model.cloud import PriceTerms
from harness.model.disturbances import Disturbance

Progress = Callable[[str], None]
"""Takes one short line about the work in progress."""


def ignore_progress(_line: str) -> None:
    """Tell nobody what is in progress."""


class BenchError(HarnessError):
    """Provisioning gave no host. `reason` goes into the run's verdict; the exit code applies where there is no run."""

    exit_code = ExitCode.NOT_CONCLUSIVE
    reason: ClassVar[Reason] = Reason.LAUNCH_FAILED


class CapacityError(BenchError):
    """There is no capacity for this type now; a retry later or in another place may succeed."""

    reason = Reason.CAPACITY


class QuotaError(BenchError):
    """The account's quota allows no more hosts of this type."""

    reason = Reason.QUOTA


class NotOfferedError(BenchError):
    """This bench or place does not offer the type."""

    exit_code = ExitCode.BAD_REQUEST
    reason = Reason.NOT_OFFERED


class TransientError(BenchError):
    """Provisioning failed for a transient reason; a retry may succeed."""


class FatalError(BenchError):
    """This campaign can provision no more hosts (credentials, permissions)."""

    exit_code = ExitCode.BAD_REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """A type that a bench can provide: its name, and a one-line summary for people."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A line of `doctor`: the requirement, whether it is met, the observed state and the remedy."""

    name: str
    ok: bool
    observed: str
    remedy: str = ""


def refuse_disturbance(disturbance: Disturbance) -> BenchError:
    """Make the error of a bench that cannot disturb its hosts from outside."""
    return BenchError(f"{disturbance} can be caused in the lab only")


class Bench(Protocol):
    """A source of hosts. Every effect carries the token of its host, so any process can find and remove it later."""

    name: str

    def types(self) -> Mapping[str, InstanceType]:
        """Return the types that this bench provides, by name."""

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        """Replace groups and selections among the requested names by their members, in order."""

    def checks(self) -> Sequence[Check]:
        """Check the requirements of this bench on the local machine."""

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        """Make the resources that all hosts of a campaign share (images, snapshots). Raises SetupError."""

    def terms(self, types: Sequence[str]) -> PriceTerms | None:
        """Return the source and price of hosts of these types, once `prepare` is done. None where hosts are free."""

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        """Return a running host: the existing one of this token, else a new one. Raises BenchError."""

    def find(self, token: Token) -> Machine | None:
        """Return the running host of this token, or None. No host is made."""

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        """Tell other controllers, where this bench has a way to, that the host of this token is needed until then.

        The host itself is told by SSH, and the ledger by its caller. Raises BenchError, and where the host is unknown.
        """

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        """Disturb a running host's clock from outside for some seconds; it is undisturbed again when this returns.

        `pause` waits, and may raise. Raises BenchError where this bench has no way to.
        """

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        """Remove every resource that carries the token, and verify the removal. Raises CleanupError.

        No resource at all is success. `progress` gets what a long removal waits for.
        """

    def resources(self) -> Sequence[Resource]:
        """List all resources in this bench's own records, of any user, whether still in use or not."""

    def api_calls(self, token: Token | None = None) -> float | None:
        """Count this process's requests to a cloud's API for one host, or in all. None where there is no API.

        A request that served several hosts counts for each host in part.
        """
