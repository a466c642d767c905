"""A lab host measures clocks whose offset, drift, steps, refusals and noise are known: does it find them?

chronyd is stopped, so that the host's system clock runs free. It and the emulated card count the same oscillator, so
the offset between them is the one that the card is told to have, beside the noise of the readings. That noise is what
the tolerances below allow for: a reading takes 0.12 ms and more in an emulated guest, and an offset by one reading
scatters over 10 to 30 us. A jitter of 200 ns is a hundredth of that: it cannot be found by these readings, and the test
says so by holding that it is not.
"""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from ena_device.control import ask

from harness import wiring
from harness.analysis.offset_series import make_series
from harness.analysis.sample_arrays import to_arrays
from harness.analysis.slot_readings import SlotReadings, choose_readings, make_offset_series
from harness.analysis.stability import compute_deviations
from harness.analysis.time_interval_error import compute_mtie
from harness.host import ssh
from harness.ladder import quantities
from harness.model import Evidence, Facts, Sample, Token
from harness.probes.facts import read_facts
from harness.probes.samples import read_samples
from harness.system import proc, settings

pytestmark = [pytest.mark.truth, pytest.mark.lab, pytest.mark.timeout(3600), pytest.mark.xdist_group("quiet")]

ROLE = Path(__file__).parents[2] / "roles" / "clock_facts" / "files"
STRAIGHT_S, REFUSED_S, PLAYED_S = 120, 60, 128
OFFSET_NS, STEP_NS, DRIFT_PPB, REFUSE_EVERY, JITTER_NS = 5_000, 20_000, 50, 50, 200
SIGMAS = 4
"""A figure must be within so many standard errors, as the undisturbed readings show them, of the truth."""

MOST_ERROR_NS, MOST_ERROR_PPB = 5_000, 60
"""Standard errors (of a step, of a drift) above which the host is too noisy for these truths: the test fails."""

Floats = npt.NDArray[np.float64]

PERIODS = (2, 8, 32)
PLAYED_NS = 200_000
"""Standard deviation of the steps that the card plays, one a second: a random walk of its time."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the host measured, by the name of what the card was told meanwhile, and the series that it played."""

    parts: dict[str, tuple[Sample, ...]]
    begun_ns: dict[str, int]  # when the card was told so, in this machine's UTC
    played_ns: dict[int, int]  # by slot: the sum of the steps until then
    facts: Facts

    def readings(self, name: str) -> SlotReadings:
        return choose_readings(to_arrays(self.parts[name]))

    def scatter_ns(self, name: str) -> float:
        """The standard deviation of a part's offsets from their straight line."""
        at_s, offsets_ns = self.series(name)
        line = np.polyval(np.polyfit(at_s, offsets_ns, 1), at_s)
        return float(np.std(offsets_ns - line))

    def series(self, *names: str) -> tuple[Floats, Floats]:
        """The moments of readings in seconds of the card's time, and the offsets, of some parts."""
        parts = [self.readings(name) for name in names]
        at_s = np.concatenate([(part.phc_ns - self.begun_ns["straight"]) / 1e9 for part in parts])
        return at_s, np.concatenate([part.offset_ns for part in parts]).astype(np.float64)

    def fit(self) -> dict[str, tuple[float, float]]:
        """Fit what the card was told to the offsets: each value and its standard error, by least squares.

        The offset of a clock that runs free is a straight line, here with two steps and a ramp between them.
        """
        at_s, offsets_ns = self.series("straight", "offset", "drift", "step")
        told = {name: (at_ns - self.begun_ns["straight"]) / 1e9 for name, at_ns in self.begun_ns.items()}
        model = np.stack(
            [
                np.ones_like(at_s),
                at_s,
                -(at_s >= told["offset"]).astype(np.float64),
                -np.clip(at_s - told["drift"], 0, told["step"] - told["drift"]),
                -(at_s >= told["step"]).astype(np.float64),
            ],
            axis=1,
        )
        values, _, _, _ = np.linalg.lstsq(model, offsets_ns, rcond=None)
        rest = offsets_ns - model @ values
        variance = float(rest @ rest) / (len(rest) - model.shape[1])
        errors = np.sqrt(variance * np.diag(np.linalg.inv(model.T @ model)))
        names = ("begin", "rate", "offset", "drift", "step")
        return {name: (float(value), float(error)) for name, value, error in zip(names, values, errors, strict=True)}


class Card:
    """The emulated card of the host, and the moments at which it was told something."""

    def __init__(self, control: Path) -> None:
        self._control = str(control)
        self.told: list[tuple[str, int]] = []

    def tell(self, name: str, **bends: int) -> None:
        if bends:
            ask(self._control, **bends)
        self.told.append((name, time.time_ns()))

    def play(self, steps_ns: list[int], phase_ns: int) -> dict[int, int]:
        """Step the clock once a second, between the bursts of two samples; the sums by second of this machine's UTC."""
        total, sums = 0, {}
        for step_ns in steps_ns:
            now_ns = time.time_ns()
            time.sleep(((phase_ns - now_ns) % 10**9) / 1e9)
            ask(self._control, step_ns=step_ns)
            total += step_ns
            sums[time.time_ns()] = total
        return sums


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("known")
    lab = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": str(folder / "state")}))
    lab.prepare(["lab.phc"], print)
    token = Token(run="test", host="known")
    with ExitStack() as cleanup:
        cleanup.callback(lambda: lab.release(token))
        machine = lab.provision(token, "lab.phc", print)
        known_hosts, record = ssh.write_known_hosts(machine, folder), lab.records.find(token)
        assert record is not None

        def run(command: str, stdin: str = "") -> str:
            return proc.run(ssh.build_command(machine, known_hosts, command), stdin=stdin, timeout_s=120).stdout

        run("systemctl stop chrony; sleep 5")
        facts, _ = read_facts(run("python3 -", (ROLE / "collect.py").read_text()), where="facts.json")
        sampler = (ROLE / "sample.py").read_text()
        seconds = 4 * STRAIGHT_S + REFUSED_S + STRAIGHT_S + PLAYED_S + 60
        run(f"python3 - --output=/run/known.gz --duration={seconds} --reads=10", sampler)
        card, sums = Card(record.sockets / "control"), dict[int, int]()
        time.sleep(3)
        first, _, _ = read_samples(run("zcat /run/known.gz 2>/dev/null || true"), where="first")
        burst_ns = (first[0].reads or ())[0].phc_ns  # the card's time, which is this machine's UTC
        for name, seconds, bends in (
            ("straight", STRAIGHT_S, {}),
            ("offset", STRAIGHT_S, {"step_ns": OFFSET_NS}),
            ("drift", STRAIGHT_S, {"freq_ppb": DRIFT_PPB}),
            ("step", STRAIGHT_S, {"freq_ppb": 0, "step_ns": STEP_NS}),
            ("refused", REFUSED_S, {"refuse_every": REFUSE_EVERY}),
            ("jitter", STRAIGHT_S, {"refuse_every": 0, "jitter_ns": JITTER_NS}),
        ):
            card.tell(name, **bends)
            time.sleep(seconds)
        card.tell("played", jitter_ns=0)
        steps = np.random.default_rng(7).normal(size=PLAYED_S) * PLAYED_NS
        sums = card.play([int(step) for step in steps], burst_ns + 700_000_000)
        card.tell("end")
        run("python3 - --output=/run/known.gz --stop", (ROLE / "sample_boots.py").read_text())
        samples, unparsed, _ = read_samples(run("zcat /run/known.gz"), where="samples.jsonl")
        assert unparsed == ()
    return Measured(parts=split(samples, card), begun_ns=dict(card.told), played_ns=place(samples, sums), facts=facts)


def split(samples: Sequence[Sample], card: Card) -> dict[str, tuple[Sample, ...]]:
    """The samples of each part, without those within two seconds of its ends; the card's time tells where each is."""
    parts: dict[str, tuple[Sample, ...]] = {}
    for (name, begun_ns), (_, end_ns) in pairwise(card.told):
        inside = [each for each in samples if each.reads and begun_ns + 2e9 < each.reads[0].phc_ns < end_ns - 2e9]
        parts[name] = tuple(inside)
    return parts


def place(samples: Sequence[Sample], sums: dict[int, int]) -> dict[int, int]:
    """The sum of the steps at each slot that was sampled after the first of them."""
    placed: dict[int, int] = {}
    for each in samples:
        before = [at_ns for at_ns, total in sums.items() if each.reads and at_ns + total < each.reads[0].phc_ns]
        if before:
            placed[each.slot] = sums[max(before)]
    return placed


@pytest.mark.parametrize(
    ("name", "truth", "most_error"),
    [("offset", OFFSET_NS, MOST_ERROR_NS), ("drift", DRIFT_PPB, MOST_ERROR_PPB), ("step", STEP_NS, MOST_ERROR_NS)],
)
def test_what_the_card_was_told_is_found(measured: Measured, name: str, truth: float, most_error: float) -> None:
    found, error = measured.fit()[name]
    print(f"{name}: {found:.0f} +- {error:.0f}, told {truth}")
    assert error < most_error, "the host is too noisy for this truth"
    assert abs(found - truth) < SIGMAS * error


def test_refused_readings_are_counted_exactly(measured: Measured) -> None:
    """Nobody else reads, so the sampler's readings are all of them: each fiftieth is refused."""
    evidence = Evidence(facts=measured.facts, samples=measured.parts["refused"], slots=None)
    counted = quantities.count_reads(evidence)
    own = sum(len(each.reads or ()) + (each.read_errors or 0) for each in measured.parts["refused"])
    refused = sum(each.read_errors or 0 for each in measured.parts["refused"])
    assert abs(refused - own / REFUSE_EVERY) <= 1
    assert counted is not None
    assert abs(counted.refused / counted.requests - 1 / REFUSE_EVERY) < 0.005


def test_a_jitter_of_200_ns_is_below_what_such_readings_can_show(measured: Measured) -> None:
    """It would add (0.2^2 / 3) us^2 to a variance of 100 us^2 and more. Nothing may claim to have found it."""
    straight, jitter = measured.scatter_ns("straight"), measured.scatter_ns("jitter")
    print(f"scatter {straight:.0f} ns, with the jitter {jitter:.0f} ns")
    assert straight > 10 * JITTER_NS
    assert 0.3 < jitter / straight < 3


def test_the_figures_of_a_series_that_the_card_plays_are_those_of_the_series(measured: Measured) -> None:
    """TDEV, ADEV and MTIE of the measured offsets against those of the random walk that the card was told."""
    readings = measured.readings("played")
    readings = readings.choose(np.isin(readings.slots, list(measured.played_ns)))
    assert len(readings) > PLAYED_S - 20
    found = make_offset_series(readings, 1.0)
    truth = make_series(readings.slots, [-measured.played_ns[int(slot)] for slot in readings.slots], slot_s=1.0)
    noise = compute_deviations(make_offset_series(measured.readings("straight"), 1.0), PERIODS)
    pairs = zip(compute_deviations(found, PERIODS), compute_deviations(truth, PERIODS), noise, strict=True)
    for mine, known, floor in pairs:
        assert mine.tdev_ns is not None
        assert known.tdev_ns is not None
        assert floor.tdev_ns is not None
        assert mine.adev is not None
        assert known.adev is not None
        print(f"tau {mine.tau_s:g} s: TDEV {mine.tdev_ns:.0f} of {known.tdev_ns:.0f} ns, floor {floor.tdev_ns:.0f} ns")
        allowed = SIGMAS * floor.tdev_ns + 0.02 * known.tdev_ns
        assert abs(mine.tdev_ns - known.tdev_ns) < allowed
        assert mine.adev == pytest.approx(known.adev, rel=0.2)
    for mine_error, known_error in zip(compute_mtie(found, PERIODS), compute_mtie(truth, PERIODS), strict=True):
        print(f"tau {mine_error.tau_s:g} s: MTIE {mine_error.low_ns}..{mine_error.high_ns} of {known_error.mtie_ns} ns")
        assert mine_error.low_ns <= known_error.mtie_ns <= mine_error.high_ns
