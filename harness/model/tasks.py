"""Define tasks (campaigns that were submitted to a service) and the scopes of access tokens."""

from enum import StrEnum


class TaskState(StrEnum):
    """The state of a task. `FAILED`: its run could not begin; what a run found is in the run's report."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


class Scope(StrEnum):
    """A scope of tokens: the rights of their bearers, each scope with all before it.

    `READ`: look at everything but tokens and the audit log. `SUBMIT`: submit campaigns, and cancel own tasks.
    `OPERATE`: cancel every task; keep and release hosts; baselines, schedules. `ADMIN`: tokens, sites, the audit log.
    """

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        """Whether the bearer of a token of this scope may do what `other` allows."""
        order = list(Scope)
        return order.index(self) >= order.index(other)
