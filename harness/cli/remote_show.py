"""`show` with a service."""

from collections.abc import Mapping, Sequence
from json import dumps
from typing import Any

from harness.cli import output, remote_runs
from harness.cli.server_options import NamedServer, connect
from harness.client.client import Client
from harness.client.host_reading import read_host_record
from harness.client.run_views import Document, RunView
from harness.errors import RequestError
from harness.model import Stage
from harness.report import text
from harness.report.document import SCHEMA
from harness.runs.event_lines import event_document, format_event
from harness.store.event_log import NumberedEvent


def show(
    server: NamedServer,
    *,
    run: str,
    host: str | None,
    json: bool,
    follow: bool,
    watch: bool,
    since: int | None,
) -> None:
    """Show a run of a service: rung by rung, or its events until it ends."""
    if watch:
        raise RequestError(
            "--watch draws the samples of this machine, and not those of a service",
            next_step=f"`ptp-harness --server {server.url} show {run} --follow` prints the run's events line by line",
        )
    if since is not None and not follow:
        raise RequestError("--since goes with --follow", next_step="add --follow")
    with connect(server) as client:
        detail = client.run(remote_runs.find_run(client, run))
        if follow:
            _follow(client, detail, host, since or 0, json=json)
            return
        names = [each.host for each in detail.hosts] if host is None else [host]
        hosts = [client.host(detail.run, name) for name in names]
        if json:
            output.emit(_document(detail, hosts))
            return
        output.show("\n".join(_lines(client, detail, hosts)))


def _follow(client: Client, detail: RunView, host: str | None, since: int, *, json: bool) -> None:
    for event in client.events(detail.run, after=since):
        if host in (None, event.host):
            numbered = NumberedEvent(number=event.number, event=event.to_event(detail.run))
            output.show(dumps(event_document(numbered)) if json else format_event(numbered, detail.bench))


def _lines(client: Client, detail: RunView, hosts: Sequence[Document]) -> list[str]:
    lines: list[str] = []
    for host in hosts:
        if host["outcome"] is None:
            lines.append(f"{text.host_title(host['name'], host['instance_type'])}: no verdict yet")
        else:
            lines += text.ladder(read_host_record(host, url=client.url), bench=detail.bench).splitlines()
    lines += [_describe_step(step, detail.bench) for host in hosts for step in host["steps"]]
    kept_text = remote_runs.describe_kept(detail)
    return [*lines, *([f"{kept_text}; remove with `ptp-harness release {detail.run}`"] if kept_text else [])]


def _describe_step(step: Mapping[str, Any], bench: str) -> str:
    duration = "not ended" if step["seconds"] is None else f"{step['seconds']:.1f} s"
    stage = text.stage_title(Stage(step["stage"]), bench) if step["stage"] in [*Stage] else str(step["stage"])
    return f"  {step['token']:<32} {stage:<10} {duration:>9}  {step['result'] or ''}".rstrip()


def _document(detail: RunView, hosts: Sequence[Document]) -> dict[str, Any]:
    """Make the document that `show --json` prints."""
    of_run = ("run", "bench", "steps")
    return {
        "schema": SCHEMA,
        "run": detail.run,
        "bench": detail.bench,
        "started": detail.started.isoformat(),
        "state": detail.state,
        "kept_until": None if detail.kept_until is None else detail.kept_until.isoformat(),
        "hosts": [{key: value for key, value in host.items() if key not in of_run} for host in hosts],
        "steps": [step for host in hosts for step in host["steps"]],
    }
