"""Patience by kind of host: whatever waits for an instance waits long enough for bare metal, and knows it from here."""

from dataclasses import astuple

import pytest

from harness.benches.ec2.engine.engine import Deadlines
from harness.model.ec2_deadlines import METAL, VIRTUAL, deadlines_of

MINUTE_S = 60.0


@pytest.mark.parametrize(
    ("instance_type", "deadlines"), [("m7i.large", VIRTUAL), ("m7i.metal-24xl", METAL), ("c5n.metal", METAL)]
)
def test_bare_metal_is_known_by_its_name(instance_type: str, deadlines: object) -> None:
    assert deadlines_of(instance_type) is deadlines
    assert deadlines_of("m7i.large", instance_type, "") is deadlines


def test_bare_metal_may_take_what_it_was_seen_to_take() -> None:
    assert METAL.ends_s > 19 * MINUTE_S  # c5.metal
    assert METAL.stops_s > 10 * MINUTE_S  # i3.metal
    assert all(metal > virtual for metal, virtual in zip(astuple(METAL), astuple(VIRTUAL), strict=True))


@pytest.mark.parametrize("deadlines", [VIRTUAL, METAL])
def test_the_engine_outlasts_the_provider_s_wait(deadlines: object) -> None:
    assert isinstance(deadlines, type(VIRTUAL))
    assert Deadlines().for_destroy(deadlines) > deadlines.ends_s
    assert Deadlines().for_up(deadlines) > 2 * deadlines.runs_s
    assert (Deadlines(destroy_s=5.0).for_destroy(deadlines), Deadlines(up_s=6.0).for_up(deadlines)) == (5.0, 6.0)
