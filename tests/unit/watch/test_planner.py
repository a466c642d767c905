"""The planner: every stream once, balanced, with as few moves as that takes, and quiet once it is balanced."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.watch.planner import DEAD_BAND, Plan, Worker, divide, plan_streams

Held = dict[str, list[str]]


def apply(plan: Plan, held: Mapping[str, Sequence[str]], workers: Sequence[Worker]) -> Held:
    """The streams of each worker once a plan is carried out."""
    moved = {*plan.moves, *plan.left_out}
    after = {worker.name: [each for each in held.get(worker.name, ()) if each not in moved] for worker in workers}
    for stream, name in plan.moves.items():
        after[name].append(stream)
    return after


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Worker], Held, list[str]]:
    """Workers of equal or other shares, what they and some that are gone hold, and what nobody holds."""
    names = [f"w{number}" for number in range(draw(st.integers(1, 8)))]
    alike = draw(st.booleans())
    shares = st.just(1.0) if alike else st.floats(0.2, 5.0)
    limits = draw(st.sampled_from([st.just(math.inf), st.integers(0, 12).map(float)]))
    workers = [Worker(name, draw(shares), draw(limits)) for name in names]
    counts = {name: draw(st.integers(0, 15)) for name in [*names, "gone", "ending"]}
    numbers = iter(range(10_000))
    held = {name: [f"s{next(numbers)}" for _ in range(count)] for name, count in counts.items()}
    orphans = [f"s{next(numbers)}" for _ in range(draw(st.integers(0, 15)))]
    return workers, held, orphans


def require_each_stream_once(plan: Plan, held: Held, orphans: list[str], after: Held) -> None:
    there = Counter(stream for streams in held.values() for stream in streams) + Counter(orphans)
    assert Counter(stream for streams in after.values() for stream in streams) + Counter(plan.left_out) == there


@given(layouts())
def test_streams_of_the_same_weight(layout: tuple[list[Worker], Held, list[str]]) -> None:
    workers, held, orphans = layout
    plan = plan_streams(workers, held, orphans)
    after = apply(plan, held, workers)
    require_each_stream_once(plan, held, orphans, after)
    total = sum(map(len, held.values())) + len(orphans)
    parts = dict(zip([worker.name for worker in workers], divide(total, workers), strict=True))
    for worker in workers:
        assert abs(len(after[worker.name]) - parts[worker.name]) < 1 + 1e-6
        assert len(after[worker.name]) <= worker.limit
    assert len(plan.left_out) == max(0, total - sum(worker.limit for worker in workers))
    assert all(stream not in held.get(name, ()) for stream, name in plan.moves.items()), "each move is one"
    again = plan_streams(workers, after, plan.left_out)
    assert again.moves == {}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 30))
def test_equal_workers_differ_by_one_and_no_plan_needs_fewer_moves(counts: list[int], orphans: int) -> None:
    workers = [Worker(f"w{number}") for number in range(len(counts))]
    held = {f"w{number}": [f"s{number}-{each}" for each in range(count)] for number, count in enumerate(counts)}
    free = [f"o{number}" for number in range(orphans)]
    plan = plan_streams(workers, held, free)
    sizes = sorted(map(len, apply(plan, held, workers).values()))
    assert sizes[-1] - sizes[0] <= 1
    closest = sorted(counts)  # the fullest workers keep one more: each other assignment moves more
    fewest = sum(max(0, before - after) for before, after in zip(closest, sizes, strict=True))
    assert len(plan.moves) == fewest + orphans


@given(layouts(), st.randoms(use_true_random=False))
def test_streams_of_different_weights(layout: tuple[list[Worker], Held, list[str]], drawn) -> None:  # type: ignore[no-untyped-def]
    workers, held, orphans = layout
    streams = [*orphans, *(stream for each in held.values() for stream in each)]
    weights = {stream: drawn.choice((0.5, 1.0, 1.0, 2.0, 7.0)) for stream in streams}
    plan = plan_streams(workers, held, orphans, weights)
    after = apply(plan, held, workers)
    require_each_stream_once(plan, held, orphans, after)
    loads = {name: sum(weights[stream] for stream in each) for name, each in after.items()}
    parts = divide(sum(weights.values()), workers)
    for worker, part in zip(workers, parts, strict=True):
        load, heaviest = loads[worker.name], max((weights[stream] for stream in after[worker.name]), default=0.0)
        assert load <= worker.limit + 1e-9
        assert load <= max(part * (1 + DEAD_BAND), part + heaviest) + 1e-9
    if plan.left_out:
        lightest = min(weights[stream] for stream in plan.left_out)
        assert all(loads[worker.name] + lightest > worker.limit for worker in workers)
    again = plan_streams(workers, after, plan.left_out, weights)
    assert again.moves == {}
    assert sorted(again.left_out) == sorted(plan.left_out)


def test_a_worker_that_joins_gets_its_part_from_those_that_have_most() -> None:
    workers = [Worker(f"w{number}") for number in range(5)]
    held = {f"w{number}": [f"s{number}-{each}" for each in range(25)] for number in range(4)}
    for weights in (None, {stream: 1.0 for each in held.values() for stream in each}):
        plan = plan_streams(workers, held, weights=weights)
        assert {*plan.moves.values()} == {"w4"}
        assert 19 <= len(plan.moves) <= 20


def test_a_worker_that_is_gone_moves_its_own_streams_alone() -> None:
    held = {f"w{number}": [f"s{number}-{each}" for each in range(20)] for number in range(5)}
    for weights in (None, {stream: 1.0 for each in held.values() for stream in each}):
        plan = plan_streams([Worker(f"w{number}") for number in range(4)], held, weights=weights)
        assert {*plan.moves} == {*held["w4"]}
        assert Counter(plan.moves.values()) == {f"w{number}": 5 for number in range(4)}


def test_weights_that_change_a_little_move_nothing() -> None:
    workers = [Worker(f"w{number}") for number in range(4)]
    held = {f"w{number}": [f"s{number}-{each}" for each in range(100)] for number in range(4)}
    for change in (0.96, 1.0, 1.04):
        weights = {stream: change if name == "w0" else 1.0 for name, each in held.items() for stream in each}
        assert plan_streams(workers, held, weights=weights) == Plan()
    weights = {stream: 2.0 if name == "w0" else 1.0 for name, each in held.items() for stream in each}
    plan = plan_streams(workers, held, weights=weights)
    assert {stream.partition("-")[0] for stream in plan.moves} == {"s0"}
    assert 35 <= len(plan.moves) <= 38, "250 of weight 2 are 125 for each worker of the same share"


def test_heavy_streams_move_rather_than_many_light_ones() -> None:
    workers = [Worker("a"), Worker("b")]
    held = {"a": ["heavy", *(f"light-{number}" for number in range(100))], "b": []}
    weights = {"heavy": 45.0} | {f"light-{number}": 1.0 for number in range(100)}
    plan = plan_streams(workers, held, weights=weights)
    assert plan.moves["heavy"] == "b"
    assert len(plan.moves) <= 1 + 28


def test_without_workers_every_stream_is_left_out() -> None:
    assert plan_streams([], {"gone": ["b"]}, ["a"]) == Plan(left_out=["a", "b"])


@pytest.mark.parametrize("total", [0.0, 10.0, 1e9])
def test_parts_are_divided_by_share_up_to_the_limits(total: float) -> None:
    workers = [Worker("small", 1.0, 2.0), Worker("large", 3.0), Worker("other", 1.0)]
    parts = divide(total, workers)
    assert sum(parts) == pytest.approx(total)
    assert parts[0] == min(2.0, total / 5)
    assert parts[1] == pytest.approx(3 * parts[2])
    assert divide(total, [Worker("a", 1.0, 3.0), Worker("b", 2.0, 4.0)]) == [min(3.0, total), min(4.0, total)]
