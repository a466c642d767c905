"""What is a warm guest? A lab host of the asked type that is up in every way and waits for somebody to use it.

It has been restored, has its identity, its card, its driver and its clock as its type demands: all that takes seconds.
What is left for the moment in which it is handed out is to see that it still answers. Its system clock was set when it
was restored and has run freely since, as nobody steers it before somebody uses the host; that is some milliseconds at
most. It is not set again: the agent could do so by a shell only, which takes 0.1 s and leaves it 50 ms behind.
"""

from dataclasses import dataclass

from harness.benches.bench import Progress
from harness.benches.lab.bench import LabBench, find_truth
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.json_lines import JsonLines
from harness.benches.lab.pool.pool import WarmPool
from harness.benches.lab.pool.pool_state import PoolRules
from harness.errors import RequestError
from harness.model import Machine, Token
from harness.store import adhoc_runs

_CONNECT_DEADLINE_S = 5.0
_ANSWER_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmHost:
    """A host, and our connection to its agent for as long as it waits.

    The agent looks for new connections twice a second only, which is too slow for handing a guest out. A host to which
    something will happen has none, since who does that speaks to the agent too, and QEMU serves one at a time.
    """

    machine: Machine
    record: GuestRecord
    lines: JsonLines | None


class LabSource:
    """Guests of one lab type for a pool: made and removed by the bench, named after the process that keeps them."""

    def __init__(self, bench: LabBench, instance_type: str) -> None:
        self._bench, self._truth = bench, find_truth(instance_type)
        self._run = adhoc_runs.run_name()

    def make(self, number: int, progress: Progress) -> WarmHost:
        token = Token(run=self._run, host=self._truth.name, attempt=number)
        try:
            machine = self._bench.provision(token, self._truth.name, progress)
            record = self._bench.records.find(token)
            assert record is not None
            lines = None if self._truth.faults else _connect(record)
            return WarmHost(machine=machine, record=record, lines=lines)
        except BaseException:
            self._bench.release(token)
            raise

    def answers(self, guest: WarmHost) -> bool:
        if not _alive(guest.record):
            return False
        lines = guest.lines or _connect(guest.record)
        try:
            GuestAgent(lines).ask("hello", deadline_s=_ANSWER_DEADLINE_S)
        finally:
            if guest.lines is None:
                lines.close()
        return True

    def ready(self, guest: WarmHost) -> bool:
        answers = self.answers(guest)
        if guest.lines is not None:
            guest.lines.close()  # the agent is theirs who get the host
        return answers

    def remove(self, guest: WarmHost) -> None:
        if guest.lines is not None:
            guest.lines.close()
        self._bench.release(guest.machine.token)


def open_pool(bench: LabBench, instance_type: str, rules: PoolRules, progress: Progress) -> WarmPool[WarmHost]:
    """A pool of hosts of one type, once all that they are made from is there. Raises RequestError and SetupError."""
    if not find_truth(instance_type).ssh:
        raise RequestError(f"{instance_type} lets nobody in: warm hosts of it are of no use")
    bench.prepare([instance_type], progress)
    return WarmPool(rules, LabSource(bench, instance_type), progress=progress)


def _alive(record: GuestRecord) -> bool:
    """Whether the guest and all that stands beside it run; what happens to it by its truth may be over."""
    return all(process.alive() for name, process in record.processes.items() if name != "faults")


def _connect(record: GuestRecord) -> JsonLines:
    return JsonLines(record.sockets / "agent", deadline_s=_CONNECT_DEADLINE_S)
