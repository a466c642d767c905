"""Show the figures of the service: for Prometheus, and as JSON."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from pydantic import BaseModel, Field

from harness.analysis.durations import DurationFigures
from harness.model import Outcome
from harness.service.authentication import Context, Reader
from harness.service.ledger_figures import LedgerFigures, ResultFigures

router = APIRouter(tags=["metrics"])

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Durations(BaseModel):
    """Durations in seconds: how many, and the values that 50 %, 95 % and 99 % do not exceed; null without any."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class RouteMetrics(BaseModel):
    """The requests of a route since the service began; `failures`: answers of 500 and more.

    `duration_s`: until the answer began, of the latest ten minutes, of at most 1,000 requests.
    """

    method: str
    route: str
    requests: int
    failures: int
    duration_s: Durations


class Results(BaseModel):
    """How steps or tasks ended. Those that timed out failed, too."""

    succeeded: int
    failed: int
    timed_out: int
    interrupted: int
    duration_s: Durations


class StageMetrics(Results):
    """The steps of a stage on a bench."""

    bench: str
    stage: str


class SiteMetrics(Results):
    """The tasks that a site carried out; `here`: the service itself."""

    site: str


class TypeMetrics(BaseModel):
    """The hosts of a type: how many verdicts of each outcome, and how long a host took."""

    bench: str
    instance_type: str
    outcomes: dict[Outcome, int]
    duration_s: Durations


class TaskMetrics(BaseModel):
    """How many tasks have each state, of all times; `oldest_waiting_s`: null where none waits."""

    states: dict[str, int]
    oldest_waiting_s: float | None


class RetryMetrics(BaseModel):
    """How often something was done again. `ledger`: transactions by cause; `hosts`: begun more than once, this week."""

    ledger: dict[str, int]
    hosts: int


class ScheduleMetrics(BaseModel):
    """Schedules: how many, how many are paused or made no task at their latest time, and how many times were missed."""

    total: int
    paused: int
    troubled: int
    missed: int


class MetricsDocument(BaseModel):
    """The figures of the service. Those of the ledger are of the latest week, and `age_s` old.

    They are null before the ledger was read, as while it is away.
    """

    age_s: float | None
    requests: list[RouteMetrics]
    tasks: TaskMetrics | None = None
    schedules: ScheduleMetrics | None = None
    retries: RetryMetrics | None = None
    stages: list[StageMetrics] = Field(default_factory=list)
    types: list[TypeMetrics] = Field(default_factory=list)
    sites: list[SiteMetrics] = Field(default_factory=list)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
def show_prometheus(request: Request, context: Context, _caller: Reader) -> Response:
    """Show the figures for Prometheus: as its text format, or as OpenMetrics where the request accepts that."""
    registry = context.metrics.registry
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        text = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Response(text, media_type=_OPENMETRICS)
    return Response(generate_latest(registry), media_type=_TEXT)


@router.get("/v1/metrics")
def show_metrics(context: Context, _caller: Reader) -> MetricsDocument:
    """Show the figures: requests by route, and of the latest week stages, types and sites."""
    requests = [
        RouteMetrics(
            method=method,
            route=route,
            requests=each.requests,
            failures=each.failures,
            duration_s=_write_durations(each.durations_s),
        )
        for (method, route), each in context.metrics.requests.read().items()
    ]
    look = context.metrics.read_figures()
    if look.value is None or look.age_s is None:
        return MetricsDocument(age_s=None, requests=requests)
    retries = {cause.value: number for cause, number in context.metrics.database.retries.items()}
    return _write_figures(look.value, look.age_s, requests, retries)


def _write_figures(
    figures: LedgerFigures, age_s: float, requests: list[RouteMetrics], retries: dict[str, int]
) -> MetricsDocument:
    rows = figures.rows
    states: dict[str, int] = {}
    for (state, _), number in rows.tasks.items():
        states[state] = states.get(state, 0) + number
    return MetricsDocument(
        age_s=round(age_s, 3),
        requests=requests,
        tasks=TaskMetrics(states=states, oldest_waiting_s=rows.oldest_waiting_s),
        schedules=ScheduleMetrics(
            total=rows.schedules, paused=rows.paused_schedules, troubled=rows.troubled_schedules, missed=rows.missed
        ),
        retries=RetryMetrics(ledger=retries, hosts=rows.retaken_hosts),
        stages=[
            StageMetrics(bench=bench, stage=stage, **_write_results(each).model_dump())
            for (bench, stage), each in figures.stages.items()
        ],
        types=[
            TypeMetrics(
                bench=bench, instance_type=name, outcomes=dict(outcomes), duration_s=_write_durations(durations)
            )
            for (bench, name), (outcomes, durations) in figures.types.items()
        ],
        sites=[SiteMetrics(site=site, **_write_results(each).model_dump()) for site, each in figures.sites.items()],
    )


def _write_results(figures: ResultFigures) -> Results:
    return Results(
        succeeded=figures.succeeded,
        failed=figures.failed,
        timed_out=figures.timed_out,
        interrupted=figures.interrupted,
        duration_s=_write_durations(figures.durations_s),
    )


def _write_durations(figures: DurationFigures) -> Durations:
    p50, p95, p99 = (None if value is None else round(value, 6) for value in (figures.p50, figures.p95, figures.p99))
    return Durations(count=figures.count, p50=p50, p95=p95, p99=p99)
