"""Talk to a service: submit campaigns, follow their runs, read reports, keep and release hosts."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import IO, Any, TypeVar
from urllib.parse import quote

from harness.client.document_reading import read_document
from harness.client.event_stream import EVENT, follow_stream
from harness.client.refusals import RefusedError
from harness.client.retries import SLOW
from harness.client.run_views import ComparedText, Document, KeptHostView, Run, RunEvent, RunView
from harness.client.service_connection import ConnectionOptions, ServiceConnection
from harness.client.site_views import SiteListing
from harness.client.task_views import ServiceVersion, Task
from harness.errors import ExitCode
from harness.model import HostState, Outcome
from harness.model.tasks import TaskState

T = TypeVar("T")


class Client:
    """A client of the service at `url`, with a token unless the service is open. Threads may share it.

        with Client("https://ptp.example.org", token) as client:
            task = client.submit("instance_types: [lab.phc]")

    A call whose request the service refuses raises RefusedError, with its next step; one that fails until the deadline
    of `options.retries` raises UnavailableError.
    """

    def __init__(self, url: str, token: str | None = None, options: ConnectionOptions | None = None) -> None:
        self._connection = ServiceConnection(url, token, options or ConnectionOptions())

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return self._connection.url

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def version(self) -> ServiceVersion:
        """Tell which version the service is, and which benches campaigns may use there."""
        return self._read(ServiceVersion, self._connection.get("/v1/info"))

    # -- tasks

    def submit(
        self, campaign: str, *, priority: int = 0, site: str | None = None, idempotency_key: str | None = None
    ) -> Task:
        """Submit the text of a campaign file, YAML or JSON.

        `site`: which shall carry it out. `idempotency_key`: a text of your own that names this request; a request that
        is sent again with it makes no second task. Without one, the tries of this call share one.
        """
        body: dict[str, Any] = {"campaign": campaign, "priority": priority}
        if site is not None:
            body["site"] = site
        return self._read(Task, self._connection.post("/v1/tasks", body, idempotency_key=idempotency_key))

    def tasks(
        self,
        *,
        state: TaskState | None = None,
        outcome: Outcome | None = None,
        bench: str | None = None,
        instance_type: str | None = None,
        site: str | None = None,
        submitter: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Task]:
        """List the tasks that meet all conditions, the newest first. Times are RFC 3339, or how long ago: 12h, 7d."""
        conditions = {"state": state, "outcome": outcome, "bench": bench, "type": instance_type, "site": site}
        conditions |= {"submitter": submitter, "since": since, "until": until}
        return (self._read(Task, item) for item in self._list("/v1/tasks", conditions))

    def task(self, task: str) -> Task:
        """Look at a task."""
        return self._read(Task, self._connection.get(f"/v1/tasks/{_part(task)}"))

    def cancel(self, task: str) -> Task:
        """Cancel a task: one that waits is not begun; one that runs releases its hosts, and reports."""
        return self._read(Task, self._connection.post(f"/v1/tasks/{_part(task)}/cancel"))

    # -- runs

    def runs(
        self,
        *,
        types: Sequence[str] = (),
        state: str | None = None,
        outcome: Outcome | None = None,
        bench: str | None = None,
        since: str | None = None,
        until: str | None = None,
        min_offset: str | None = None,
        min_bound: str | None = None,
        sort: str | None = None,
    ) -> Iterator[Run]:
        """List the runs that meet all conditions, the newest first, or the worst `offset` or `bound` first.

        `types`: patterns such as `m7i.*`, of which the type of one host must match one. Times are RFC 3339, or how long
        ago: 12h, 7d; figures have a unit: 500ns, 20us.
        """
        conditions: dict[str, Any] = {"type": list(types) or None, "state": state, "outcome": outcome, "bench": bench}
        conditions |= {"since": since, "until": until, "min_offset": min_offset, "min_bound": min_bound, "sort": sort}
        return (self._read(Run, item) for item in self._list("/v1/runs", conditions))

    def run(self, run: str) -> RunView:
        """Look at a run, by its name or `last`, with its hosts."""
        return self._read(RunView, self._connection.get(f"/v1/runs/{_part(run)}"))

    def host(self, run: str, host: str) -> Document:
        """Look at a host of a run: its ladder with the evidence, findings, figures and steps, as a document."""
        document: Document = self._connection.get(f"/v1/runs/{_part(run)}/hosts/{_part(host)}")
        return document

    def events(self, run: str, *, after: int = 0) -> Iterator[RunEvent]:
        """Yield each event of a run behind a number as it happens, until the run has ended or its process died.

        A connection that is lost is made again, and the events go on behind the last one.
        """
        for part in follow_stream(self._connection, f"/v1/runs/{_part(run)}/events", after=after):
            if part.kind == EVENT:
                yield self._read(RunEvent, part.data)

    def report(self, run: str, form: str = "text") -> str:
        """Read the report of a run that has ended, in a form of `ptp-harness report`."""
        return self._connection.get_answer(f"/v1/runs/{_part(run)}/report", {"form": form}).text

    def compare(
        self,
        run: str,
        bases: Sequence[str] = (),
        *,
        baseline: str | None = None,
        form: str = "json",
        all_figures: bool = False,
    ) -> ComparedText:
        """Compare a run with earlier ones, or with a baseline, in a form of `ptp-harness diff`."""
        parameters = {"base": list(bases) or None, "baseline": baseline, "form": form, "all": all_figures or None}
        answer = self._connection.get_answer(f"/v1/runs/{_part(run)}/diff", parameters)
        return ComparedText(text=answer.text, exit_code=int(answer.headers.get("x-exit-code", ExitCode.NOT_CONCLUSIVE)))

    def download_run(self, run: str, file: IO[bytes], *, most_bytes: int) -> None:
        """Write an ended run with its evidence into a file, as `ptp-harness ledger export` does."""
        self._connection.download(f"/v1/runs/{_part(run)}/archive", file, most_bytes=most_bytes)

    # -- kept hosts

    def kept_hosts(self, *, run: str | None = None, bench: str | None = None) -> Iterator[KeptHostView]:
        """List the hosts that stayed after their runs, the first whose lease ends first."""
        return (self._read(KeptHostView, item) for item in self._list("/v1/hosts", {"run": run, "bench": bench}))

    def kept_host(self, run: str, host: str) -> Document:
        """Look at a kept host, and how to log in to it, as a document."""
        document: Document = self._connection.get(f"/v1/hosts/{_part(run)}/{_part(host)}")
        return document

    def keep(self, run: str, host: str, *, lease: str | None = None) -> KeptHostView:
        """Keep a host that still runs though its run has ended; with `lease` for so long from now: 30m, 8h, 2d."""
        path = f"/v1/hosts/{_part(run)}/{_part(host)}/keep"
        return self._read(KeptHostView, self._connection.post(path, {"lease": lease}, retries=SLOW))

    def release(self, run: str, host: str) -> None:
        """Remove a kept host; return once it is gone, which may take minutes."""
        path = f"/v1/hosts/{_part(run)}/{_part(host)}/release"
        try:
            self._connection.post(path, retries=SLOW)
        except RefusedError as error:
            if not (error.repeated and error.status == HTTPStatus.CONFLICT and self._is_released(run, host)):
                raise

    def _is_released(self, run: str, host: str) -> bool:
        return self.host(run, host).get("state") == HostState.RELEASED

    # -- sites

    def sites(self) -> SiteListing:
        """List the sites of a hub."""
        return self._read(SiteListing, self._connection.get("/v1/sites"))

    def sync_sites(self) -> SiteListing:
        """Let a hub read its registry now; list its sites then."""
        return self._read(SiteListing, self._connection.post("/v1/registry/sync"))

    def _list(self, path: str, conditions: Mapping[str, Any], *, page: int = 100) -> Iterator[Mapping[str, Any]]:
        """List the items of all pages."""
        cursor: str | None = None
        while True:
            answer = self._connection.get(path, {**conditions, "limit": page, "cursor": cursor})
            items: Sequence[Mapping[str, Any]] = answer["items"]
            yield from items
            cursor = answer.get("next")
            if cursor is None:
                return

    def _read(self, kind: type[T], data: Any) -> T:
        return read_document(kind, data, url=self.url)


def _part(name: str) -> str:
    """Write a name as one part of a path."""
    return quote(name, safe="")
