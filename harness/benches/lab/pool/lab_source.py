"""Make, check and remove the warm guests of a pool: running lab hosts of one type that wait for a client.

A warm guest is restored and has its identity, its card, its driver and its clock as its type demands: these steps take
seconds. When the guest is handed out, the only remaining step is to check that it still answers. The guest's system
clock was set at the restore and has run freely since; its error is some milliseconds at most. The clock is not set
again: the agent could set it by a shell only, which takes 0.1 s and leaves the clock 50 ms behind.
"""

from dataclasses import dataclass

from harness.benches.bench import BenchError, Progress
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
    """A warm host and an open connection to its agent.

    The agent accepts new connections twice a second only, which is too slow for handing a guest out. `lines` is None
    for a host with faults: their process connects to the agent too, and QEMU serves one connection at a time.
    """

    machine: Machine
    record: GuestRecord
    lines: JsonLines | None


class LabSource:
    """Makes and removes a pool's guests of one lab type by the bench, in a run named after this process."""

    def __init__(self, bench: LabBench, instance_type: str) -> None:
        self._bench, self._truth = bench, find_truth(instance_type)
        self._run = adhoc_runs.make_run_name()

    def make(self, number: int, progress: Progress) -> WarmHost:
        token = Token(run=self._run, host=self._truth.name, attempt=number)
        try:
            machine = self._bench.provision(token, self._truth.name, progress)
            record = self._bench.records.find(token)
            if record is None:
                raise BenchError(f"{token} has no record")
            lines = None if self._truth.faults else _connect(record)
            return WarmHost(machine=machine, record=record, lines=lines)
        except BaseException:
            self._bench.release(token)
            raise

    def answers(self, guest: WarmHost) -> bool:
        if not _is_alive(guest.record):
            return False
        lines = guest.lines or _connect(guest.record)
        try:
            GuestAgent(lines).ask("hello", deadline_s=_ANSWER_DEADLINE_S)
        finally:
            if guest.lines is None:
                lines.close()
        return True

    def prepare_for_client(self, guest: WarmHost) -> bool:
        answers = self.answers(guest)
        if guest.lines is not None:
            guest.lines.close()  # the agent now serves the client of the host
        return answers

    def remove(self, guest: WarmHost) -> None:
        if guest.lines is not None:
            guest.lines.close()
        self._bench.release(guest.machine.token)


def open_pool(bench: LabBench, instance_type: str, rules: PoolRules, progress: Progress) -> WarmPool[WarmHost]:
    """Prepare the bench for one type and make a pool of its hosts. Raises RequestError and SetupError."""
    if not find_truth(instance_type).ssh:
        raise RequestError(f"{instance_type} accepts no login: its hosts cannot wait in a pool")
    bench.prepare([instance_type], progress)
    return WarmPool(rules, LabSource(bench, instance_type), progress=progress)


def _is_alive(record: GuestRecord) -> bool:
    """Tell whether the guest and its side processes run. The process of its faults may have ended."""
    return all(process.alive() for name, process in record.processes.items() if name != "faults")


def _connect(record: GuestRecord) -> JsonLines:
    return JsonLines(record.sockets / "agent", deadline_s=_CONNECT_DEADLINE_S)
