"""Say what to do about a watched clock that is not OK: as the ladder does, but for words that are about a run."""

from collections.abc import Mapping

from harness.ladder.annotations import REMEDIES
from harness.model.enums import Reason

WATCH_REMEDIES: Mapping[Reason, str | None] = {
    **REMEDIES,
    Reason.NOT_OBSERVED: "see whether chronyd runs on the host, and whether `chronyc` answers there",
    Reason.OUT_OF_LIMITS: "do not trust this clock to these limits; replace the host where it stays so",
    Reason.BOUND_REFUTED: "restart chronyd; if readings are slow, raise chrony_phc_delay_s",
    Reason.TOO_FEW_SAMPLES: "wait; where it stays so, see whether the host or the worker is short of processor time",
    Reason.UNREACHABLE: "see whether the host runs, and whether `ssh` logs in there from the worker's machine",
}
