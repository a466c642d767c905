"""Disturb the clock of a guest from outside: stop the machine, or let its card answer no request for the time."""

from collections.abc import Callable

from harness.benches.bench import refuse_disturbance
from harness.benches.lab.guests import faults
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io import qmp
from harness.model.disturbances import Disturbance


def disturb(record: GuestRecord, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
    """Disturb a running guest for some seconds; it is undisturbed again when this returns, also by an error.

    Raises BenchError for a disturbance that is caused inside of the host, CommandError where the guest does not obey.
    """
    match disturbance:
        case Disturbance.GUEST_PAUSED:
            _stop_machine(record, seconds, pause)
        case Disturbance.PHC_WITHDRAWN:
            _silence_clock(record, seconds, pause)
        case _:
            raise refuse_disturbance(disturbance)


def _stop_machine(record: GuestRecord, seconds: float, pause: Callable[[float], None]) -> None:
    """Stop the virtual machine with its clocks, as the last phase of a live migration does."""
    with qmp.session(record.sockets / "qmp") as monitor:
        monitor.do("stop")
        try:
            pause(seconds)
        finally:
            monitor.do("cont")


def _silence_clock(record: GuestRecord, seconds: float, pause: Callable[[float], None]) -> None:
    control = record.sockets / "control"
    faults.bend_device(control, {"mode": "silent"})
    try:
        pause(seconds)
    finally:
        faults.bend_device(control, {"mode": "ok"})
