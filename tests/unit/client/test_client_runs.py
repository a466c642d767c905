"""Runs, their events and reports by the client, against a real service and over connections that are cut."""

import json
import threading
import time
from collections.abc import Iterator

import pytest

from harness.client.failures import UnavailableError
from harness.client.host_reading import read_host_record
from harness.client.refusals import RefusedError
from harness.errors import SetupError
from harness.model import HostState, Outcome, RunRecord, Stage
from harness.model.tasks import Scope
from harness.report import text
from harness.report.formats import Format, render
from harness.runs.run_events import make_event
from harness.store.ledger import Ledger
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.cutting_proxy import CuttingProxy, cutting_proxy
from tests.servers.service import RunningService
from tests.unit.client.conftest import HASTY, MakeClient

LAST = 400


@pytest.fixture
def proxy(service: RunningService) -> Iterator[CuttingProxy]:
    with cutting_proxy(service.url) as between:
        yield between


def say(ledger: Ledger, run: str, number: int) -> None:
    ledger.say(make_event(f"sample {number}", run=run, host="h0", stage=Stage.MEASURE))


def end(ledger: Ledger, run: str) -> None:
    record = RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(), leftovers=())
    ledger.close_run(record)


def test_runs_are_listed_and_chosen(service: RunningService, make_client: MakeClient) -> None:
    client = make_client(scope=Scope.READ)
    names = [
        add_run(service.ledger, [MadeUpHost(instance_type="m7i.large", outcome=Outcome.FAIL, offset_ns=5000.0)]),
        add_run(service.ledger, [MadeUpHost(), MadeUpHost(offset_ns=80.0)]),
    ]
    assert [run.run for run in client.runs()] == names[::-1]
    assert [run.run for run in client.runs(types=["m7i.*"])] == names[:1]
    assert [run.run for run in client.runs(outcome=Outcome.FAIL)] == names[:1]
    assert [run.run for run in client.runs(min_offset="1us", sort="offset")] == names[:1]
    (run,) = client.runs(types=["lab.*"])
    assert (run.verdicts, run.offset_p99_ns, run.host_count, run.state) == ({Outcome.PASS: 2}, 80.0, 2, "ended")
    with pytest.raises(RefusedError, match="since is 'soon'"):
        list(client.runs(since="soon"))


def test_a_run_and_its_hosts_are_shown(service: RunningService, make_client: MakeClient) -> None:
    client = make_client(scope=Scope.READ)
    run = add_run(service.ledger, {"a": MadeUpHost(offset_ns=80.0), "b": MadeUpHost(outcome=Outcome.INCONCLUSIVE)})
    detail = client.run("last")
    assert (detail.run, detail.outcome, detail.seconds) == (run, Outcome.INCONCLUSIVE, 12.5)
    assert [(host.host, host.outcome, host.state) for host in detail.hosts] == [
        ("a", Outcome.PASS, HostState.RELEASED),
        ("b", Outcome.INCONCLUSIVE, HostState.RELEASED),
    ]
    records = [read_host_record(client.host(run, name), url=client.url) for name in ("a", "b")]
    kept = [line.record for line in service.ledger.hosts(run)]
    assert [text.ladder(record) for record in records] == [text.ladder(record) for record in kept if record]
    with pytest.raises(RefusedError, match="there is no run 'zzzz'"):
        client.run("zzzz")
    with pytest.raises(RefusedError, match="has no host 'c'"):
        client.host(run, "c")


def test_a_host_of_a_version_that_differs_too_much_is_told() -> None:
    with pytest.raises(SetupError, match="does not understand what x answered: instance_type"):
        read_host_record({"name": "a", "outcome": "SPLENDID"}, url="x")


@pytest.mark.parametrize("form", [*Format])
def test_a_report_is_that_of_the_command(service: RunningService, make_client: MakeClient, form: Format) -> None:
    run = add_run(service.ledger, [MadeUpHost(offset_ns=80.0)])
    record = service.ledger.record(run)
    assert record is not None
    assert make_client(scope=Scope.READ).report(run, form) == render(record, form)


def test_a_comparison_has_its_exit_code(service: RunningService, make_client: MakeClient) -> None:
    client = make_client(scope=Scope.READ)
    earlier = [add_run(service.ledger, [MadeUpHost(offset_ns=80.0)]) for _ in range(3)]
    worse = add_run(service.ledger, [MadeUpHost(outcome=Outcome.FAIL, offset_ns=9000.0)])
    compared = client.compare(worse, earlier)
    assert compared.exit_code == 1
    assert json.loads(compared.text)["run"] == worse
    with pytest.raises(RefusedError, match="the baseline 'default' is empty"):
        client.compare(worse)


def test_the_report_of_a_run_that_goes_on_is_refused(service: RunningService, make_client: MakeClient) -> None:
    run = add_run(service.ledger, ended=False)
    with pytest.raises(RefusedError, match="has not ended") as refused:
        make_client(scope=Scope.READ).report(run)
    assert refused.value.status == 409


def test_events_come_as_they_happen_until_the_run_has_ended(service: RunningService, make_client: MakeClient) -> None:
    ledger = service.ledger
    run = add_run(ledger, [MadeUpHost(outcome=None)], ended=False)
    stream = make_client(scope=Scope.READ).events(run)
    say(ledger, run, 1)
    ledger.flush()
    first = next(event for event in stream if event.text == "sample 1")
    assert (first.host, first.stage) == ("h0", Stage.MEASURE)
    say(ledger, run, 2)
    end(ledger, run)
    rest = list(stream)
    assert [event.text for event in rest] == ["sample 2", "ended: no host"]
    assert [event.number for event in rest] == [first.number + 1, first.number + 2]


def test_no_event_is_lost_or_doubled_where_connections_are_cut(
    service: RunningService, make_client: MakeClient, proxy: CuttingProxy
) -> None:
    ledger = service.ledger
    run = add_run(ledger, [MadeUpHost(outcome=None)], ended=False)
    before = len(ledger.events(run))

    def happen() -> None:
        for number in range(1, LAST + 1):
            say(ledger, run, number)
            if number % 20 == 0:
                time.sleep(0.02)
                proxy.cut_all()
        end(ledger, run)

    proxy.cut_after_bytes = 6000  # in the middle of an event, too
    thread = threading.Thread(target=happen)
    thread.start()
    events = list(make_client(proxy.url, scope=Scope.READ).events(run))
    thread.join()
    assert [event.text for event in events[before:-1]] == [f"sample {number}" for number in range(1, LAST + 1)]
    assert [event.number for event in events] == [*range(1, len(events) + 1)]
    assert proxy.connections > 5


def test_a_service_that_is_away_for_too_long_is_given_up(
    service: RunningService, make_client: MakeClient, proxy: CuttingProxy
) -> None:
    run = add_run(service.ledger, [MadeUpHost(outcome=None)], ended=False)
    stream = make_client(proxy.url, scope=Scope.READ, retries=HASTY).events(run)
    assert next(stream).number == 1
    proxy.close()
    with pytest.raises(UnavailableError, match="refused the connection"):
        list(stream)


def test_events_of_a_run_that_is_not_there_are_refused(make_client: MakeClient) -> None:
    with pytest.raises(RefusedError, match="there is no run 'zzzz'"):
        list(make_client(scope=Scope.READ).events("zzzz"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"data: {\n\n", "are not JSON"),
        (b"data: []\n\n", "does not understand what"),
    ],
)
def test_events_that_are_none_are_told(
    service: RunningService, make_client: MakeClient, proxy: CuttingProxy, body: bytes, said: str
) -> None:
    proxy.answers = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body]
    with pytest.raises(SetupError, match=said):
        list(make_client(proxy.url, scope=Scope.READ).events("any"))


def test_an_archive_of_a_run_is_what_the_command_exports(
    service: RunningService, make_client: MakeClient, tmp_path: object
) -> None:
    import io

    run = add_run(service.ledger, [MadeUpHost()])
    client, file = make_client(scope=Scope.READ), io.BytesIO()
    client.download_run(run, file, most_bytes=1 << 20)
    assert file.getvalue()[:2] == b"\x1f\x8b"
    with pytest.raises(SetupError, match="with more than 10 bytes"):
        client.download_run(run, io.BytesIO(), most_bytes=10)
    goes_on = add_run(service.ledger, [MadeUpHost(outcome=None)], ended=False)
    with pytest.raises(RefusedError, match="has not ended"):
        client.download_run(goes_on, io.BytesIO(), most_bytes=1 << 20)
