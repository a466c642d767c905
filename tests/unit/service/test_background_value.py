"""A look at something that hangs: nobody who asks waits for it, and it is begun once."""

import threading
import time

from harness.service.background_value import BackgroundValue


def test_a_value_is_looked_at_once_while_it_is_fresh() -> None:
    looks: list[int] = []
    value = BackgroundValue("x", lambda: looks.append(1) or len(looks), fresh_s=60.0)
    nothing = value.read()
    assert (nothing.value, nothing.age_s, nothing.pending_s, nothing.error) == (None, None, None, None)
    for _ in range(3):
        look = value.read_fresh(within_s=5.0)
        assert (look.value, look.pending_s, look.error) == (1, None, None)
        assert look.age_s is not None
        assert look.age_s < 5


def test_an_old_value_is_looked_at_again() -> None:
    looks: list[int] = []
    value = BackgroundValue("x", lambda: looks.append(1) or len(looks), fresh_s=0.0)
    assert [value.read_fresh(within_s=5.0).value for _ in range(3)] == [1, 2, 3]


def test_a_look_that_hangs_is_told_with_its_time_and_holds_nobody_up() -> None:
    go_on, looks = threading.Event(), list[int]()

    def look() -> int:
        looks.append(1)
        if len(looks) == 2:
            go_on.wait(30)
        return len(looks)

    value = BackgroundValue("x", look, fresh_s=0.0)
    assert value.read_fresh(within_s=5.0).value == 1
    begun = time.monotonic()
    for _ in range(3):
        hanging = value.read_fresh(within_s=0.05)
    assert time.monotonic() - begun < 1
    assert (hanging.value, len(looks)) == (1, 2), "the value before it, and one look at a time"
    assert hanging.pending_s is not None
    assert hanging.pending_s > 0.05
    go_on.set()
    value.ended.wait(5)
    assert value.read().value == 2


def test_a_look_that_fails_keeps_the_value_before_it() -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        if len(looks) == 2:
            raise OSError("away")
        return len(looks)

    value = BackgroundValue("x", look, fresh_s=0.0)
    value.read_fresh(within_s=5.0)
    failed = value.read_fresh(within_s=5.0)
    assert (failed.value, str(failed.error)) == (1, "away")
    assert value.read_fresh(within_s=5.0).error is None
