"""Explain each plot and each figure in a sentence or two, for a person who knows NTP but no measure of stability."""

OFFSET = (
    "Offset: the system clock minus the PTP hardware clock (PHC), by the fastest reading in each interval. Each column "
    "spans {column} and shows the least and the greatest value in it, so that no spike is lost. The first sample is of "
    "{begin}."
)

BOUND = (
    "Lower panel: the same offset within + and - {bound}. The clock promises to be no further than that from {of}; an "
    "offset that leaves the band by more than its uncertainty refutes the promise."
)

HISTOGRAM = (
    "How often each offset occurred. One narrow peak at 0 is a good clock; two peaks, or a long tail to one side, are "
    "worth a look at the plot over time."
)

MTIE = (
    "MTIE (maximum time interval error): the largest change of the offset within any window of that length. It "
    "answers: how far can this clock move in so many seconds? A flat curve is a clock that is held to its reference; a "
    "curve that rises with the window drifts."
)

MTIE_INTERVAL = "The shaded interval is what MTIE may be, by the uncertainty of the readings."

TDEV = (
    "TDEV (time deviation): the typical random change of the offset from one window of that length to the next, after "
    "averaging within the windows. Noise of single readings averages out and falls with the length; what rises again "
    "is wander of the clock. The shaded interval holds the true TDEV with 90 % confidence."
)

FLOOR = (
    "Floor of the readings: the TDEV that a perfect clock would show, since each offset is uncertain by half of the "
    "time that its reading takes. On or below this line the clock cannot be told from the noise of the readings."
)

READ_DELAY = (
    "The time of the fastest reading of the PHC in each interval. The PHC was read at some moment within it, so half "
    "of it is the uncertainty of the offset: a longer reading is a less certain offset, not a worse clock."
)

COMPARISON = (
    "Each line is a host, on a logarithmic axis: half of its offsets are within the first mark, 99 of 100 within the "
    "second, and none is beyond the third. The bar is the bound, which the offset stays below if the bound is honest. "
    "Marks further left are better. Hosts of one type stand together, the worst first; the shaded part behind them "
    "reaches from the 99 % mark of the best one to that of the worst."
)

RATIOS = (
    "Each mark is how many times its earlier value a figure is now, on a logarithmic axis: right of x1 is worse. "
    "Several hosts and runs count by their geometric mean. Within the shaded band chance alone could have made the "
    "change: its ends are the smallest ratios that would have counted. Each further earlier run makes it narrower."
)

CHANCE = (
    "Two measurements of the same clock never have the same figures. A figure counts as worse where it is at least a "
    "quarter larger, and chance alone makes it so rarely: a false alarm in any figure of any type has a probability of "
    "5 %. Smaller changes than those named here may be there and were not told."
)

DISTURBANCES_COMPARED = (
    "Chrony's bound held where no reading refuted it in any second that could be compared, on every host of the type. "
    "A bound that held in every earlier run and is refuted now got worse: a reading lies outside of it, whatever its "
    "own uncertainty. A clock is back when chrony follows its PHC and it is as near to it as before."
)

ADEV = (
    "ADEV (Allan deviation): the typical change of the frequency from one window to the next, as a pure number: 1e-9 "
    "is a nanosecond each second."
)
