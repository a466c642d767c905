"""Bring stacks up and down with the Pulumi engine: one worker process per operation, with a deadline and enough RAM."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.benches.bench import Progress
from harness.benches.ec2.engine import engine_locks, resource_failures
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.engine_locks import LockPatience
from harness.benches.ec2.engine.resource_failures import EngineError, ResourceFailure
from harness.benches.ec2.engine.stack import PROJECT, ConfigValue, StackOutputs, StackSettings
from harness.errors import CommandError, last_line
from harness.model.ec2_deadlines import VIRTUAL, InstanceDeadlines, deadlines_of
from harness.system import memory, proc

PER_STACK_MIB = 750
"""Memory of one operation: engine 120, AWS plugin 430, program 110, worker 60, and a reserve."""

LEFT_FREE_MIB = 512
_BESIDE_UP_S, _BESIDE_DESTROY_S = 600.0, 300.0
"""Time of an operation besides the wait for the instance. The end of a virtual instance is within that of `up`."""

ANYWAY = "its stack is kept: `ptp-harness sweep --yes` removes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Deadlines in seconds; `grace_s` is the time that the engine gets after each request to stop.

    `up_s` and `destroy_s`: None leaves them to the instance's type, by `for_up` and `for_destroy`. `lock_s`: for
    another operation on the same stack. `orphan_s`: for an engine whose harness has ended, and which is killed then;
    its worker ends it within twice its own grace.
    """

    up_s: float | None = None
    destroy_s: float | None = None
    recover_s: float = 600.0
    short_s: float = 120.0
    grace_s: float = 20.0
    lock_s: float = 60.0
    orphan_s: float = 90.0

    def for_up(self, instance: InstanceDeadlines) -> float:
        """`up` waits until the instance runs, and may first end the instance of an earlier attempt."""
        return self.up_s or _BESIDE_UP_S + instance.runs_s + instance.ends_s - VIRTUAL.ends_s

    def for_destroy(self, instance: InstanceDeadlines) -> float:
        return self.destroy_s or _BESIDE_DESTROY_S + instance.ends_s


def parallel_operations(available_mib: int) -> int:
    """Return how many operations may run at once in so much memory; at least one."""
    return max(1, (available_mib - LEFT_FREE_MIB) // PER_STACK_MIB)


@dataclass(slots=True)
class _WorkerEvents:
    """The events of a worker so far."""

    failures: list[ResourceFailure] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    instance: Callable[[bool], None] = lambda _: None


class Engine:
    """The real Pulumi engine with one folder. Threads share it; operations on different stacks run in parallel."""

    def __init__(self, home: EngineHome, *, patience: Deadlines | None = None, at_once: int | None = None) -> None:
        """`at_once` replaces the number of parallel operations that this machine's free memory allows."""
        self._home, self._patience = home, patience or Deadlines()
        self._room = threading.BoundedSemaphore(at_once or parallel_operations(memory.read_available_mib()))
        self._ready = threading.Lock()
        self._checked = False

    def prepare(self, progress: Progress) -> None:
        """Find the engine, and fetch the AWS plugin if it is missing. Runs once. Raises SetupError."""
        with self._ready:
            if self._checked:
                return
            self._home.version()
            self._home.forget_old_logs()
            if self._home.plugin() is None:
                progress("fetching Pulumi's AWS plugin, once")
                self._home.fetch_plugin()
            self._checked = True

    def up(
        self,
        stack: str,
        settings: StackSettings,
        progress: Progress,
        cancelled: Callable[[], bool] = lambda: False,
        instance: Callable[[bool], None] = lambda _: None,
    ) -> StackOutputs:
        """Create or complete a stack. Raises EngineError; resources made by then are in the stack's state.

        `instance` is called with True when an instance is requested, some seconds after the start, and with False after
        any failure.
        """
        self.prepare(progress)
        config = settings.config()
        deadline_s = self._patience.for_up(deadlines_of(settings.instance_type))
        outputs = self._do("up", stack, deadline_s, progress, cancelled, instance, config=config)
        return StackOutputs.of(stack, outputs)

    def destroy(self, stack: str, progress: Progress, instance: InstanceDeadlines = VIRTUAL) -> None:
        """Remove all resources in a stack's state; `instance`: the deadlines of the stack's instance.

        A stack that does not exist is success. Raises EngineError.
        """
        self.prepare(progress)
        self._do("destroy", stack, self._patience.for_destroy(instance), progress)

    def outputs(self, stack: str) -> StackOutputs | None:
        """Return the outputs of a stack that is up; None when the stack does not exist or has no outputs."""
        outputs = self._do("outputs", stack, self._patience.short_s)
        return StackOutputs.of(stack, outputs) if outputs else None

    def stacks(self) -> list[str]:
        """Return the names of all stacks of our project in the backend, of all users."""
        return sorted(self._do("stacks", "_", self._patience.short_s) or [])

    def recover(self, stack: str, progress: Progress = lambda _: None) -> None:
        """Make a stack usable again after its engine was killed: remove dead locks, and refresh the state from EC2.

        A resource that was being made at that moment may exist without being in any state: find it by its tags. Raises
        LockedError for a lock whose holder is alive, EngineError.
        """
        self.prepare(progress)
        if (backend := self._home.backend_folder) is not None:
            patience = LockPatience(others_s=self._patience.lock_s, orphans_s=self._patience.orphan_s)
            engine_locks.release_locks(backend, PROJECT, stack, patience, progress)
        self._do("recover", stack, self._patience.recover_s, progress)

    def remove(self, stack: str) -> None:
        """Remove an empty stack. A stack that does not exist is success. Raises EngineError for one with resources."""
        self._do("remove", stack, self._patience.short_s)
        self._home.forget(stack)

    def _do(
        self,
        operation: str,
        stack: str,
        timeout_s: float,
        progress: Progress = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        instance: Callable[[bool], None] = lambda _: None,
        config: Mapping[str, ConfigValue] | None = None,
    ) -> Any:
        """Run an operation in a worker and return its value; None for a stack that does not exist."""
        request: dict[str, Any] = {"operation": operation, "stack": stack, "folder": str(self._home.make(stack))}
        if config is not None:
            request["config"] = {key: {"value": entry.value, "secret": entry.secret} for key, entry in config.items()}
        events = _WorkerEvents(instance=instance)
        with self._room:
            if cancelled():
                raise EngineError(f"stack {stack}: {operation} was cancelled before it began", cancelled=True)
            try:
                result = proc.run_with_progress(
                    [sys.executable, "-m", "harness.benches.ec2.engine.engine_worker"],
                    stdin=json.dumps(request) + "\n",
                    timeout_s=timeout_s,
                    grace_s=self._patience.grace_s,
                    on_line=lambda line: _handle_line(line, events, progress),
                    cancelled=cancelled,
                    env={**self._home.environment(), **engine_locks.name_owner()},
                )
            except CommandError as error:
                message = f"stack {stack}: {operation} did not end within {timeout_s:.0f} s, and was ended"
                raise EngineError(message, failures=events.failures, next_step=ANYWAY) from error
        if events.last.get("event") == "done":
            return events.last["value"]
        if events.last.get("event") == "absent":
            return None
        raise _make_error(stack, operation, events, result.stderr, cancelled=cancelled())


def _handle_line(line: str, events: _WorkerEvents, progress: Progress) -> None:
    """Read a line from a worker. A line that is not JSON comes from a library, not from the worker, and is ignored."""
    try:
        event = json.loads(line)
    except ValueError:
        return
    if event["event"] == "step":
        if resource_failures.asks_for_instance(event):
            events.instance(True)
        if (message := resource_failures.progress(event)) is not None:
            progress(message)
    elif event["event"] == "error":
        if (failure := resource_failures.failure(event["urn"], event["message"])) is not None:
            events.failures.append(failure)
            events.instance(False)
    else:
        events.last = event


def _make_error(stack: str, operation: str, events: _WorkerEvents, stderr: str, *, cancelled: bool) -> EngineError:
    if cancelled:
        message = f"stack {stack}: {operation} was cancelled"
        return EngineError(message, failures=events.failures, cancelled=True, next_step=ANYWAY)
    if events.last.get("event") == "locked":
        return EngineError(
            f"stack {stack} is locked by another operation", next_step="wait for it, or `resume` the run"
        )
    if events.failures:
        first = events.failures[0]
        prefix = f"{resource_failures.short(first.urn)}: " if first.urn else ""
        message = f"stack {stack}: {operation}: {prefix}{first.message}"
        return EngineError(message, failures=events.failures, next_step=ANYWAY)
    message = events.last.get("message") or last_line(stderr) or "its process was killed"
    return EngineError(f"stack {stack}: {operation}: {message}", next_step=ANYWAY)
