"""A watch of real processes on real PostgreSQL that is disturbed in every way loses and doubles nothing.

Workers are `watch worker`, leaders `watch serve`, and hosts are reached over SSH. `make soak` makes SOAK_WATCH_FAULTS
(500) faults, drawn by SOAK_SEED.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from tests.programs.watch_disturbances import (
    FIRST,
    OF_LEADERS,
    OF_SERVERS,
    OF_WORKERS,
    FaultKind,
    draw_kinds,
    mark_disturbed_ends,
)
from tests.programs.watch_history import (
    Answer,
    History,
    Holding,
    Stored,
    Window,
    find_doubles,
    find_gaps,
    find_invented,
    find_lost,
    find_needless_moves,
)
from tests.programs.watch_witness import read_wait_s

ROOT = Path(__file__).parents[2]
FAULTS = int(os.environ.get("PTP_HARNESS_TEST_WATCH_FAULTS", f"{len(FaultKind)}"))  # each kind once
SEED = int(os.environ.get("PTP_HARNESS_TEST_SEED", "1"))

pytestmark = [pytest.mark.timeout(36_000)]


@pytest.mark.programs
def test_a_watch_that_is_disturbed_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    argv = [sys.executable, "-m", "tests.programs.watch_faults", str(tmp_path)]
    argv += [f"--faults={FAULTS}", f"--seed={SEED}"]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"}
    done = subprocess.run(argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(done.stdout)
    if "skipped" in said:
        pytest.skip(said["skipped"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(said["kinds"].items()))
    record_property(
        "counted",
        f"{said['faults_made']} faults of a watch ({kinds}): {said['sampled']} answers of hosts, {said['epochs']} "
        f"epochs, {said['gaps_excused']} gaps of workers that were killed, paused or cut off from hosts, "
        f"{said['gaps_held_up']} for want of a processor, {said['quiet_outages']} faults of servers moved nothing",
    )
    assert said["faults"] == [], said["windows"]
    assert said["faults_made"] >= FAULTS
    if len(FaultKind) <= FAULTS:
        assert {*said["kinds"]} >= {kind.value for kind in FaultKind if "clock" not in kind}
        assert said["quiet_outages"] + said["outages_held_up"] > 0, "one is made alone at first"
        assert said["replayed_chunks"] > 0, "what a worker had spooled when it was killed is sent by the next one"


def test_each_kind_is_made_once_at_first_and_drawn_afterwards() -> None:
    at_first = [kind for kinds in FIRST for kind in kinds]
    assert sorted(at_first) == sorted(FaultKind)
    assert {*OF_WORKERS, *OF_LEADERS, *OF_SERVERS} == {*FaultKind}
    drawn = random.Random(1)
    rounds = [draw_kinds(drawn, sets_clocks=True) for _ in range(500)]
    assert {kind for kinds in rounds for kind in kinds} == {*FaultKind}
    for kinds in rounds:
        assert len([kind for kind in kinds if kind in OF_SERVERS]) <= 1
        assert FaultKind.SERVER_CLOCK not in kinds or len(kinds) == 1, "nothing is started while its clock is set"
    without = [draw_kinds(drawn, sets_clocks=False) for _ in range(500)]
    assert not any("clock" in kind for kinds in without for kind in kinds)


def test_a_worker_that_ends_gives_its_streams_to_others_unless_another_fault_prevents_it() -> None:
    ended = Window(kind=FaultKind.WORKER_ENDED, begun_s=100.0, ended_s=106.0, target="a")

    def may_leave_a_gap(*others: Window) -> bool:
        return mark_disturbed_ends([ended, *others])[0].stops_sampling

    assert not may_leave_a_gap()
    assert not may_leave_a_gap(hit("b", 80.0, 90.0), hit("b", 110.0, 111.0))
    assert may_leave_a_gap(hit("b", 80.0, 95.0))
    assert may_leave_a_gap(hit("b", 105.0, 111.0))


# -- the checker itself: each thing that it looks for is found


def answers(worker: str, ticks: Iterable[int], *, session: int = 1, late_s: float = 0.3) -> list[Answer]:
    """Answers of the host "s", one a second; each worker's have an offset of their own."""
    return [Answer(float(tick), worker, session, "s", tick, ord(worker), late_s) for tick in ticks]


def stored(worker: str, epoch: int, ticks: Iterable[int]) -> list[Stored]:
    return [Stored("s", epoch, tick, worker, ord(worker)) for tick in ticks]


def held(at_s: float, owner: str | None, epoch: int, *, wanted: str | None = None) -> Holding:
    return Holding(at_s, "s", owner, wanted or owner, epoch)


def hit(worker: str, begun_s: float, ended_s: float, *, kills: bool = False) -> Window:
    return Window(kind="", begun_s=begun_s, ended_s=ended_s, target=worker, kills=kills, stops_sampling=True)


def find_gaps_of(
    parts: Sequence[tuple[str, int, Iterable[int]]],
    *,
    windows: Iterable[Window] = (),
    holdings: Iterable[Holding] = (),
    waits: dict[str, list[tuple[float, float]]] | None = None,
) -> tuple[list[str], int, int]:
    """Find the gaps in 60 s: those without an excuse, and how many have one. `parts`: worker, epoch and ticks."""
    history = History(
        answers=[each for worker, _, ticks in parts for each in answers(worker, ticks)],
        stored=[each for worker, epoch, ticks in parts for each in stored(worker, epoch, ticks)],
        windows=[*windows],
        holdings=[*holdings],
        waits=waits or {},
        ended_s=60.0,
    )
    gaps = find_gaps(history, ["s"])
    return [*gaps.lost], gaps.excused, gaps.held_up


def test_an_epoch_of_two_workers_and_ticks_that_are_stored_twice_are_found() -> None:
    def find(rows: list[Stored], holdings: Iterable[Holding] = ()) -> list[str]:
        return find_doubles(History(answers=[], stored=rows, holdings=[*holdings]))

    assert find(stored("a", 1, range(5)) + stored("b", 1, range(5, 9))) == ["('s', 1) was of ['a', 'b']"]
    assert find(stored("a", 1, range(3)) + stored("a", 1, [2])) == ["('s', 1, 2) is stored 2 times"]
    assert find([], [held(1.0, "a", 1), held(2.0, "b", 1)]) == ["('s', 1) was of ['a', 'b']"]
    fine = stored("a", 1, range(5)) + stored("b", 2, range(3, 9))
    assert find(fine, [held(0.0, "a", 1), held(2.0, None, 1, wanted="b"), held(3.0, "b", 2)]) == []


def test_a_reading_that_no_host_gave_to_its_worker_is_found() -> None:
    given = answers("a", range(5))
    assert find_invented(History(answers=given, stored=stored("a", 1, range(5)))) == []
    (found,) = find_invented(History(answers=given, stored=stored("a", 1, range(6))))
    assert found == "s tick 5 epoch 1 of a: no host answered 97 ns"
    assert len(find_invented(History(answers=given, stored=stored("b", 1, [3])))) == 1
    other = [each._replace(offset_ns=5) for each in stored("a", 1, [3])]
    assert len(find_invented(History(answers=given, stored=other))) == 1


def find_lost_of(
    given: list[Answer], rows: list[Stored], *, windows: Iterable[Window] = (), holdings: Iterable[Holding] = ()
) -> int:
    return len(find_lost(History(answers=given, stored=rows, windows=[*windows], holdings=[*holdings])))


def test_an_answer_that_is_not_in_the_ledger_is_lost_unless_its_worker_was_killed_just_then() -> None:
    given = answers("a", range(10))
    assert find_lost_of(given, stored("a", 1, range(10))) == 0
    assert find_lost_of(given, stored("a", 1, range(9))) == 1
    assert find_lost_of(given, stored("a", 1, range(9)), windows=[hit("a", 9.5, 20.0, kills=True)]) == 0
    assert find_lost_of(given, stored("a", 1, range(9)), windows=[hit("b", 9.5, 20.0, kills=True)]) == 1
    long_before = find_lost_of(given, stored("a", 1, range(5)), windows=[hit("a", 9.5, 20.0, kills=True)])
    assert long_before == 3, "8 and 9 were sampled just then; the others had long been sampled"
    again = answers("a", range(22, 25), session=2)
    assert find_lost_of(given + again, stored("a", 1, [*range(10), 22]), windows=[hit("a", 9.5, 20.0, kills=True)]) == 2


def test_an_answer_to_a_worker_that_did_not_have_the_stream_yet_is_not_lost() -> None:
    given = answers("a", range(30)) + answers("b", range(10, 30))
    rows = stored("a", 1, range(30)) + stored("b", 2, range(20, 30))
    assert find_lost_of(given, rows) == 0
    assert find_lost_of(given, rows[:-5] + rows[-4:]) == 1
    holdings = [held(0.0, "a", 1), held(8.0, "b", 2)]
    assert find_lost_of(given, rows, holdings=holdings) == 10, "it had the stream, as the ledger says"
    assert find_lost_of(given, rows, holdings=[held(0.0, "a", 1), held(19.5, "b", 2)]) == 0


def test_an_answer_that_came_late_or_did_not_arrive_is_not_lost() -> None:
    rows = stored("a", 1, [*range(10), *range(12, 20)])
    at_time, late = answers("a", range(20)), answers("a", range(10, 12), late_s=1.8)
    assert find_lost_of(at_time, rows) == 2
    assert find_lost_of([*answers("a", range(10)), *late, *answers("a", range(12, 20))], rows) == 0
    assert find_lost_of(at_time, rows, windows=[hit("a", 9.9, 11.0)]) == 0, "it was paused or cut off from the host"
    assert find_lost_of(at_time, rows, windows=[hit("b", 9.9, 11.0)]) == 2
    assert find_lost_of(at_time, rows, windows=[hit("a", 12.0, 13.0)]) == 2


def test_a_gap_is_a_loss_unless_its_owner_could_not_sample() -> None:
    assert find_gaps_of([("a", 1, range(61))]) == ([], 0, 0)
    with_gap = [("a", 1, range(20)), ("b", 2, range(26, 61))]
    assert find_gaps_of(with_gap) == (["s of ['a', 'b']: nothing from 19.0 to 26.0"], 0, 0)
    assert find_gaps_of(with_gap, windows=[hit("a", 19.5, 22.0)]) == ([], 1, 0)
    assert len(find_gaps_of(with_gap, windows=[hit("c", 19.5, 22.0)])[0]) == 1, "the other ones had it"
    assert len(find_gaps_of(with_gap, windows=[hit("a", 2.0, 3.0)])[0]) == 1, "that was long ago"
    ledger_only = Window(kind="", begun_s=19.5, ended_s=22.0, target="a")
    assert len(find_gaps_of(with_gap, windows=[ledger_only])[0]) == 1, "without the ledger it samples on"
    was_to_go = [held(0.0, "a", 1), held(19.2, None, 1, wanted="c"), held(25.5, "b", 2)]
    assert find_gaps_of(with_gap, windows=[hit("c", 19.5, 22.0)], holdings=was_to_go) == ([], 1, 0)


def test_a_gap_for_want_of_a_processor_is_told_apart() -> None:
    with_gap = [("a", 1, [*range(20), *range(23, 61)])]
    assert find_gaps_of(with_gap)[0] == ["s of ['a']: nothing from 19.0 to 23.0"]
    waits = {"a": [(at / 5, max(0.0, min(at / 5 - 20, 2.5))) for at in range(300)]}
    assert find_gaps_of(with_gap, waits=waits) == ([], 0, 1)
    assert find_gaps_of(with_gap, waits={"hosts": waits["a"]}) == ([], 0, 1)
    assert len(find_gaps_of(with_gap, waits={"b": waits["a"]})[0]) == 1
    little = {"a": [(at_s, waited_s / 4) for at_s, waited_s in waits["a"]]}
    assert len(find_gaps_of(with_gap, waits=little)[0]) == 1


def test_a_gap_that_outlasts_the_bound_is_a_loss() -> None:
    late = [("a", 1, range(20)), ("b", 2, range(50, 61))]
    assert len(find_gaps_of(late, windows=[hit("a", 19.5, 22.0)])[0]) == 1
    assert find_gaps_of(late, windows=[hit("a", 19.5, 27.0)]) == ([], 1, 0)
    assert len(find_gaps_of([("a", 1, range(20))], windows=[hit("a", 19.5, 22.0)])[0]) == 1, "nobody ever took it"


def test_a_stream_that_moves_for_a_fault_of_the_servers_alone_is_found() -> None:
    outage = Window(kind="server crashed", begun_s=50.0, ended_s=52.0)

    def find(
        windows: list[Window], *moves: Holding, waits: dict[str, list[tuple[float, float]]] | None = None
    ) -> tuple[int, int]:
        holdings = [held(0.0, "a", 1), *moves]
        history = History(answers=[], stored=[], windows=windows, holdings=holdings, waits=waits or {})
        found = find_needless_moves(history)
        return found.counted, len(found.moved)

    assert find([outage]) == (1, 0)
    assert find([outage], held(56.0, "a", 1, wanted="b"), held(57.0, "b", 2)) == (1, 2)
    assert find([outage], held(70.0, "b", 2)) == (1, 0), "that is long after it"
    assert find([outage, hit("a", 30.0, 31.0)], held(56.0, "b", 2)) == (0, 0), "a worker has just come back"
    assert find([outage, hit("a", 55.0, 60.0)], held(56.0, "b", 2)) == (0, 0)
    assert find([hit("a", 50.0, 52.0)], held(56.0, "b", 2)) == (0, 0)
    assert find([outage, hit("a", 5.0, 9.0)], held(56.0, "b", 2)) == (1, 1)
    assert find([outage], held(45.0, "a", 1, wanted="b"), held(56.0, "b", 2)) == (0, 0), "it was about to go"
    assert find([outage], held(45.0, "b", 2), held(56.0, "a", 3)) == (0, 0), "it had just gone"
    assert find([outage], held(56.0, "b", 2), waits={"a": [(50.0, 0.0), (55.0, 3.0)]}) == (0, 0), "no processor"


def test_a_process_that_gets_no_processor_is_seen_to_wait() -> None:
    if read_wait_s(os.getpid()) is None:
        pytest.skip("this kernel has no /proc/PID/schedstat")
    spin = (
        "import os, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); give_up_at = time.monotonic() + 2\n"
        "while time.monotonic() < give_up_at: pass"
    )
    children = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    waits: list[float] = []
    while any(child.poll() is None for child in children):
        waits += [waited_s for child in children if (waited_s := read_wait_s(child.pid)) is not None]
    assert max(waits) > 0.5
