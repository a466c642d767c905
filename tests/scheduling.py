"""How the tests are shared among worker processes: two while guests run, all of them afterwards.

Most unit tests wait more than they compute, so that four workers are a third faster than two on two cores. A guest
needs a core of its own: beside four workers its clock would be judged by the load of this machine.
"""

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadGroupScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

WORKERS_BESIDE_GUESTS = 2


class GuestsFirst(LoadGroupScheduling):
    """Let only the first two workers have tests until every test of a named group, such as "guests", has ended."""

    def mark_test_complete(self, node: "WorkerController", item_index: int, duration: float = 0) -> None:
        waited = self._groups_go_on()
        super().mark_test_complete(node, item_index, duration)
        if waited and not self._groups_go_on():
            for late in self.nodes[WORKERS_BESIDE_GUESTS:] * 2:  # a worker begins a test when it knows the next one
                self._reschedule(late)

    def _assign_work_unit(self, node: "WorkerController") -> None:
        if not self._waits(node):
            super()._assign_work_unit(node)

    def _reschedule(self, node: "WorkerController") -> None:
        if not self._waits(node):
            super()._reschedule(node)

    def _waits(self, node: "WorkerController") -> bool:
        return node in self.nodes[WORKERS_BESIDE_GUESTS:] and self._groups_go_on()

    def _groups_go_on(self) -> bool:
        units = [self.workqueue, *self.assigned_work.values()]
        return any("::" not in name and not all(tests.values()) for unit in units for name, tests in unit.items())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> LoadGroupScheduling | None:
    """Replace the scheduler of `--dist loadgroup`."""
    return GuestsFirst(config) if config.getoption("dist") == "loadgroup" else None
