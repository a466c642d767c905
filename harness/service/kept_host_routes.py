"""List the hosts that stayed after their runs, keep them longer, and release them."""

import shlex
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool

from harness.benches.bench import Bench
from harness.campaign.query_values import parse_duration_within_s
from harness.errors import ConflictError, HarnessError, RequestError, SetupError
from harness.host import ssh
from harness.model import HostState, Machine
from harness.model.bench_traits import traits_of_recorded
from harness.model.lease import LONGEST_S, SHORTEST_S
from harness.runs import kept_hosts
from harness.service.auditing import write_audit
from harness.service.authentication import Caller, Context, Operator, Reader
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page
from harness.service.problems import NotFoundError, ServiceError
from harness.service.run_documents import (
    Connection,
    KeepRequest,
    KeptHost,
    KeptHostDetail,
    ReleasedHost,
    kept_fields,
    kept_host,
)
from harness.service.sites.kept_at_site import find_site, keep_at_site, release_at_site, show_at_site
from harness.store.kept_lines import KeptLine, KeptPlace, find_kept_line, list_kept
from harness.store.ledger_lines import RunLine
from harness.untrusted.input_checks import shorten_value

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])

RunName = Annotated[str, Path(description="The name of the host's run.", max_length=64)]
HostName = Annotated[str, Path(description="The name of the host.", max_length=128)]
Result = TypeVar("Result")


@router.get("")
def list_hosts(
    context: Context,
    _caller: Reader,
    run: Annotated[str | None, Query(max_length=64)] = None,
    bench: Annotated[str | None, Query(max_length=16)] = None,
    kept_by: Annotated[str | None, Query(max_length=255)] = None,
    cursor: Annotated[str | None, Query(max_length=400, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[KeptHost]:
    """List kept hosts, the first whose lease ends first: time left, holder, cost so far, and how to enter them."""
    after = None
    if cursor is not None:
        until_ns, of_run, host = read_cursor(cursor, (int, str, str))
        after = KeptPlace(until_ns=int(str(until_ns)), run=str(of_run), host=str(host))
    found = list_kept(context.ledger.database, run=run, bench=bench, keeper=kept_by, after=after, most=limit + 1)
    page = found[:limit]
    place = page[-1].place if len(found) > limit else None
    following = None if place is None else write_cursor(place.until_ns, place.run, place.host)
    return Page(items=[kept_host(kept) for kept in page], next=following)


@router.get("/{run}/{host}")
def show_host(run: RunName, host: HostName, context: Context, _caller: Reader) -> KeptHostDetail:
    """Show a kept host, and how to log in to it. Its bench is asked whether it runs."""
    line = context.ledger.find(run)
    kept = _find_kept(context, line, host)
    if (site := find_site(context, line.run)) is not None:
        return KeptHostDetail(**show_at_site(context, site, line.run, host))
    machine = _asking_bench(lambda: _make_bench(context, line).find(kept.line.token))
    return _detail(kept, machine)


@router.post("/{run}/{host}/keep")
async def keep(run: RunName, host: HostName, wish: KeepRequest, context: Context, caller: Operator) -> KeptHostDetail:
    """Keep a host that still runs though its run has ended; with `lease` until then, from now.

    The host itself, its bench and the ledger are told the new end; a host that cannot be reached keeps its old one.
    """
    lease_s = None if wish.lease is None else _parse_lease_s(wish.lease)
    line = await run_in_threadpool(context.ledger.find, run)

    def act() -> KeptHostDetail:
        if (site := find_site(context, line.run)) is not None:
            keep_at_site(context, site, line.run, host, lease=wish.lease, by=caller.name)
            write_audit(context, caller, "host.keep", f"{line.run}/{host}", HTTPStatus.OK)
            return _detail(_find_kept(context, line, host), None)
        bench = _make_bench(context, line)
        _asking_bench(
            lambda: kept_hosts.keep_host(line.run, host, bench, context.ledger, lease_s=lease_s, by=caller.name)
        )
        write_audit(context, caller, "host.keep", f"{line.run}/{host}", HTTPStatus.OK)
        kept = _find_kept(context, line, host)
        return _detail(kept, _asking_bench(lambda: bench.find(kept.line.token)))

    return await context.host_actions.carry_out(line.run, host, act)


@router.post("/{run}/{host}/release")
async def release(run: RunName, host: HostName, context: Context, caller: Operator) -> ReleasedHost:
    """Remove a host that was kept, and verify it. The answer comes once it is done, which may take minutes.

    A client that goes away before the answer stops nothing.
    """
    line = await run_in_threadpool(context.ledger.find, run)

    def act() -> ReleasedHost:
        return _release(context, line, host, caller)

    return await context.host_actions.carry_out(line.run, host, act)


def _release(context: Context, line: RunLine, host: str, caller: Caller) -> ReleasedHost:
    begun = time.monotonic()
    if (site := find_site(context, line.run)) is not None:
        release_at_site(context, site, line.run, host)
        write_audit(context, caller, "host.release", f"{line.run}/{host}", HTTPStatus.OK)
        seconds = round(time.monotonic() - begun, 1)
        return ReleasedHost(run=line.run, host=host, state=HostState.RELEASED, seconds=seconds)
    bench = _make_bench(context, line)
    _find_kept(context, line, host)
    records = kept_hosts.find_kept(context.ledger, line.run, [host])
    (record,) = _asking_bench(lambda: kept_hosts.release_kept(line.run, records, bench, context.ledger))
    status = HTTPStatus.OK if record.state is HostState.RELEASED else HTTPStatus.BAD_GATEWAY
    write_audit(context, caller, "host.release", f"{line.run}/{host}", status)
    if record.state is not HostState.RELEASED:
        raise ServiceError(
            HTTPStatus.BAD_GATEWAY,
            f"{host} of run {line.run} could not be removed",
            next_step="try it again; `ptp-harness sweep` shows what is left of it",
        )
    return ReleasedHost(run=line.run, host=host, state=record.state, seconds=round(time.monotonic() - begun, 1))


def _find_kept(context: Context, line: RunLine, host: str) -> KeptLine:
    """Find a kept host of a run. Raises NotFoundError for another name, ConflictError for one that is not kept."""
    kept = find_kept_line(context.ledger.database, line.run, host)
    if kept is not None:
        return kept
    if not context.ledger.hosts(line.run, [host]):
        raise NotFoundError(
            f"run {line.run} has no host {host!r}", next_step=f"GET /v1/runs/{line.run} lists its hosts"
        )
    raise ConflictError(f"{host} of run {line.run} is not kept", next_step="GET /v1/hosts lists the hosts that are")


def _make_bench(context: Context, line: RunLine) -> Bench:
    """Make the bench of a run. Raises ConflictError for a bench whose hosts are neither kept nor released."""
    if not traits_of_recorded(line.bench).makes_hosts:
        raise ConflictError(
            f"the hosts of run {line.run} are your own machines, which a run neither makes nor removes",
            next_step="GET /v1/hosts lists kept hosts",
        )
    return context.make_bench(line.bench)


def _asking_bench(action: Callable[[], Result]) -> Result:
    """Ask a bench or a host. Raises ServiceError (502) where it fails, or what the request did wrong."""
    try:
        return action()
    except (RequestError, SetupError, ServiceError):
        raise
    except HarnessError as error:
        raise ServiceError(HTTPStatus.BAD_GATEWAY, error.message, next_step=error.next_step) from error


def _parse_lease_s(text: str) -> float:
    try:
        return parse_duration_within_s(text, SHORTEST_S, LONGEST_S)
    except ValueError as error:
        raise ServiceError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"lease is {shorten_value(text)}: it lasts from 1 minute to 30 days, such as 30m, 8h or 2d",
            next_step='send {"lease": "8h"}',
        ) from error


def _detail(kept: KeptLine, machine: Machine | None) -> KeptHostDetail:
    return KeptHostDetail(**kept_fields(kept), connection=None if machine is None else _connection(machine))


def _connection(machine: Machine) -> Connection:
    destination = ssh.format_destination(machine)
    return Connection(
        address=machine.address,
        port=machine.port,
        user=machine.user,
        ssh=shlex.join(["ssh", *machine.ssh_options, "-p", str(machine.port), destination]),
        known_hosts=machine.known_host.splitlines(),
        own_key=machine.private_key is None,
    )
