"""Signals and property tests for all tests.

What asks to stop is heard also where the tests run in the background, or under nohup. An example of a property test may
take long where the machine is busy: tests that bound its time measure computing time.
"""

import signal
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("usual", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")  # the option --hypothesis-profile comes later, and wins

PROGRAMS = {"moto", "start", "call_process"}
"""Fixtures that start real programs: moto's server, the emulated device, the command in a process of its own."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark the tests that use such a fixture, so that `make unit` leaves them to `make test`."""
    for item in items:
        if PROGRAMS & set(getattr(item, "fixturenames", ())):
            item.add_marker("programs")
