"""A second opinion: allantools, which is used in tests alone, computes the same deviations and the same MTIE."""

import allantools
import numpy as np
import pytest

from harness.analysis import stability
from harness.analysis.offset_series import make_series
from harness.analysis.stability import compute_deviations
from harness.analysis.time_interval_error import compute_mtie

COUNT = 3000


@pytest.mark.parametrize("kind", ["white phase", "random walk", "drift of 1 ppm"])
def test_allantools_agrees(kind: str) -> None:
    noise = np.random.default_rng(14).normal(size=COUNT) * 200
    offsets = {"white phase": noise, "random walk": np.cumsum(noise), "drift of 1 ppm": noise + 1000 * np.arange(COUNT)}
    offsets_ns = offsets[kind].round().astype(int)
    series = make_series(range(COUNT), offsets_ns.tolist(), slot_s=1.0)
    windows = stability.octaves(COUNT)
    ours = compute_deviations(series, windows)
    for name, theirs in (
        ("adev", allantools.oadev),
        ("hdev", allantools.ohdev),
        ("mdev", allantools.mdev),
        ("tdev_ns", allantools.tdev),
        ("tie_rms_ns", allantools.tierms),
    ):
        taus, values, _, _ = theirs(offsets_ns * 1e-9, rate=1, data_type="phase", taus=windows)
        scale = 1e9 if name.endswith("_ns") else 1
        by_tau = dict(zip(taus.round().astype(int).tolist(), (values * scale).tolist(), strict=True))
        compared = {point.slots: getattr(point, name) for point in ours if point.slots in by_tau}
        assert len(compared) >= len(windows) - 2
        assert compared == pytest.approx({slots: by_tau[slots] for slots in compared}, rel=1e-6), name


def test_allantools_agrees_on_mtie() -> None:
    offsets_ns = np.cumsum(np.random.default_rng(15).normal(size=COUNT) * 200).round().astype(int)
    windows = stability.octaves(COUNT)
    taus, values, _, _ = allantools.mtie(offsets_ns * 1e-9, rate=1, data_type="phase", taus=windows)
    theirs = dict(zip(taus.round().astype(int).tolist(), (values * 1e9).round().astype(int).tolist(), strict=True))
    ours = {
        point.slots: point.mtie_ns
        for point in compute_mtie(make_series(range(COUNT), offsets_ns.tolist(), slot_s=1.0), windows)
    }
    assert {slots: ours[slots] for slots in theirs} == theirs
