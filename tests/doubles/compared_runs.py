"""A comparison of runs with one of everything: verdicts, disturbances and figures that changed or did not."""

from dataclasses import replace

from harness.analysis.comparison import CircumstanceChange, Comparison, VerdictChange
from harness.analysis.disturbance_changes import BoundAnswer, DisturbanceChange
from harness.analysis.figure_changes import FigureChange
from harness.model import Outcome
from harness.model.disturbances import Disturbance

WORSE = FigureChange(
    instance_type="c7g.large",
    figure="offset p99",
    unit="ns",
    before=310.0,
    now=1200.0,
    p=0.0002,
    visible_ratio=2.1,
    measurements=3,
    worse=True,
    better=False,
)
SAME = replace(WORSE, figure="offset RMS", now=320.0, p=0.4, worse=False)
BETTER = replace(WORSE, figure="convergence", unit="s", before=8.0, now=2.0, worse=False, better=True)
LOST = VerdictChange(
    instance_type="c7g.large", before=(Outcome.PASS,), now=Outcome.FAIL, sentence="offset p99 1.2 us > 1 us"
)
AS_BEFORE = VerdictChange(instance_type="m5.large", before=(Outcome.FAIL,), now=Outcome.FAIL, sentence="no clock")
UNKNOWN = VerdictChange(instance_type="m7i.large", before=(Outcome.PASS,), now=Outcome.INCONCLUSIVE, sentence="lost")
KERNEL = CircumstanceChange(instance_type="c7g.large", what="kernel", before=("6.12.107",), now=("7.2.4",))
REFUTED = DisturbanceChange(
    instance_type="c7g.large",
    disturbance=Disturbance.CPU_LOAD,
    before=(BoundAnswer.HELD,),
    now=BoundAnswer.REFUTED,
    back_before=(True,),
    back_now=False,
)
WITHSTOOD = replace(REFUTED, disturbance=Disturbance.REBOOT, now=BoundAnswer.HELD, back_now=True)
UNREAD = replace(WITHSTOOD, disturbance=Disturbance.PHC_WITHDRAWN, now=BoundAnswer.NOT_COMPARED)
LOADED = replace(
    SAME, figure="cpu-load: largest offset", before=25_000.0, now=50_000.0, disturbance=Disturbance.CPU_LOAD
)
COMPARISON = Comparison(
    verdicts=(LOST, AS_BEFORE, UNKNOWN),
    disturbances=(REFUTED, WITHSTOOD, UNREAD),
    figures=(WORSE, SAME, BETTER, LOADED),
    circumstances=(KERNEL,),
    uncompared=("r8g.large: no earlier run has this type",),
)
