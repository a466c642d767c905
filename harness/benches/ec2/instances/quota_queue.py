"""Wait for vCPUs of a quota that other hosts of ours use: hosts queue for it instead of failing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.benches.bench import QuotaError
from harness.benches.ec2.account.quotas import quota_kind
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.account_limits import AccountLimits
from harness.model import Token
from harness.model.ec2 import family
from harness.model.ec2_enums import Market

LOOK_EVERY_S = 5.0
_LAUNCHES_WITHIN_S = 300.0
_LONGEST_S = 2 * 3600.0
"""A host's measurements and their end; a longer use of a quota does not end soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaQueue:
    """The hosts that count against the same quota as one of ours. `pause(s, words)` may raise, to end early."""

    token: Token
    instance_type: str
    region: str
    market: Market
    limits: AccountLimits | None
    pause: Callable[[float, str], None]
    now: Callable[[], float] = time.monotonic

    def wait(self, error: QuotaError) -> bool:
        """Wait until one of the others has ended; False where none can be waited for: the quota is too small.

        The others may be waiting as this one does: those that run no instance after some minutes are not waited for.
        """
        others = self._list_others() if api_errors.is_about_vcpus(error.message) else {}
        begun = self.now()
        while others:
            names = ", ".join(sorted(str(token) for token in others)[:3])
            self.pause(LOOK_EVERY_S, f"{error.message.splitlines()[0]}; waiting until another host has ended: {names}")
            present = self._list_others()
            if others.keys() - present.keys():
                return True
            others = present
            waited_s = self.now() - begun
            if waited_s > (_LONGEST_S if any(others.values()) else _LAUNCHES_WITHIN_S):
                return False
        return False

    def _list_others(self) -> dict[Token, bool]:
        """List the others with whether each has its instance."""
        ours = quota_kind(family(self.instance_type), self.market)
        return {
            other.token: other.launched
            for other in (self.limits.list_hosts_in_use() if self.limits is not None else ())
            if other.token != self.token
            and other.region in (None, self.region)
            and quota_kind(family(other.instance_type), self.market) == ours
        }
