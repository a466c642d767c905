"""Draw samples that a host could send, and worse ones: any numbers, also beyond 64 bits, and any part missing."""

from hypothesis import strategies as st

from harness.model import ChronySource, PhcCounters, PhcRead, Sample, Tracking

NTP, PHC = "169.254.169.123", "PHC0"
"""The names that sources have now and then; the first is the second opinion of the good host."""

_MODERATE = st.integers(-(10**6), 10**6)
_EXTREME = st.sampled_from(
    [0, 1, -1, 2**60, 2**61 - 1, 2**61, -(2**61), 2**62, 2**63 - 1, -(2**63) + 1, 10**20, -(10**21)]
)
_NUMBERS = _MODERATE | _EXTREME
_COUNTS = st.integers(0, 10**6) | st.sampled_from([2**61, 2**62, 10**19 - 1])
_FLOATS = st.floats(-1e12, 1e12)
_TIMES = st.integers(0, 10**13) | st.just(2**63 - 1)

trackings = st.builds(
    Tracking,
    reference=st.sampled_from([PHC, NTP]),
    stratum=_COUNTS,
    reference_time_s=st.sampled_from([1.0, 2.0]) | _FLOATS,
    system_offset_ns=_NUMBERS,
    last_offset_ns=_NUMBERS,
    rms_offset_ns=_NUMBERS,
    frequency_ppm=_FLOATS,
    residual_frequency_ppm=_FLOATS,
    skew_ppm=_FLOATS,
    root_delay_ns=_NUMBERS,
    root_dispersion_ns=_NUMBERS,
    update_interval_s=_FLOATS,
    leap=st.sampled_from(["Normal", "Insert second", "Delete second", "Not synchronised"]),
)
sources = st.builds(
    ChronySource,
    mode=st.sampled_from(["#", "^"]),
    state=st.sampled_from(["*", "?"]),
    name=st.sampled_from([PHC, NTP]) | st.text(max_size=3),
    stratum=_COUNTS,
    poll=_NUMBERS,
    reach=st.integers(0, 2),
    last_rx_s=st.none() | st.integers(0, 3) | _COUNTS,
    offset_ns=_NUMBERS,
    measured_offset_ns=_NUMBERS,
    error_ns=_NUMBERS,
)


@st.composite
def reads(draw: st.DrawFn) -> PhcRead:
    """A reading that ends after it began."""
    before_ns, phc_ns, took_ns = draw(_NUMBERS), draw(_NUMBERS), draw(st.integers(0, 5) | _COUNTS)
    return PhcRead(before_ns=before_ns, phc_ns=phc_ns, after_ns=before_ns + took_ns)


samples = st.builds(
    Sample,
    slot=st.integers(0, 30),
    mono_ns=_TIMES,
    utc_ns=_TIMES,
    tracking=st.none() | trackings,
    sources=st.none() | st.lists(sources, max_size=4).map(tuple),
    reads=st.none() | st.lists(reads(), max_size=4).map(tuple),
    read_errors=st.none() | st.integers(0, 3) | _COUNTS,
    error_bound_ns=st.none() | st.integers(0, 3) | _COUNTS,
    counters=st.none()
    | st.builds(
        PhcCounters,
        cnt=_COUNTS,
        exp=_COUNTS,
        skp=_COUNTS,
        err_dv=_COUNTS,
        err_ts=_COUNTS,
        err_eb=st.none() | _COUNTS,
    ),
    raw_ns=st.none() | _TIMES,
    cpu_ns=st.none() | _TIMES,
    boot=st.integers(0, 3),
)
