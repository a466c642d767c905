"""What takes much memory is done by a few requests at once; the others are refused soon, and keep no thread."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.service import run_sources
from harness.service.problems import ServiceError
from harness.service.run_sources import HeavyWork, RememberedEvidence
from harness.store.evidence_fetch import FoundEvidence
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from tests.doubles.ledger_runs import add_run


def test_a_few_work_a_few_wait_and_the_others_are_refused_at_once() -> None:
    work, goes_on, inside = HeavyWork(2, waiting=3, waits_s=30.0), threading.Event(), threading.Semaphore(0)

    def take_room() -> str:
        try:
            with work.room():
                inside.release()
                assert goes_on.wait(30)
                return "done"
        except ServiceError as error:
            return str(error.status)

    with ThreadPoolExecutor(20) as pool:
        first = [pool.submit(take_room) for _ in range(5)]
        assert inside.acquire(timeout=30)
        assert inside.acquire(timeout=30)
        time.sleep(0.3)
        begun = time.monotonic()
        assert [pool.submit(take_room).result() for _ in range(10)] == ["503"] * 10
        assert time.monotonic() - begun < 5
        goes_on.set()
        assert [each.result() for each in first] == ["done"] * 5


def test_room_that_does_not_come_in_time_is_refused() -> None:
    work = HeavyWork(1, waits_s=0.05)
    with work.room(), pytest.raises(ServiceError, match="too many reports"), work.room():
        pass
    with pytest.raises(ZeroDivisionError), work.room():
        _ = 1 / 0
    with work.room():
        pass


@pytest.fixture
def line(tmp_path: Path) -> RunLine:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    return ledger.find(add_run(ledger, stages=()))


def test_a_place_is_remembered_as_long_as_it_is_there(
    line: RunLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(line: RunLine) -> FoundEvidence:
        asked.append(line.run)
        (tmp_path / "evidence").mkdir(exist_ok=True)
        return FoundEvidence(folder=tmp_path / "evidence", fetched=True)

    remembered = RememberedEvidence(find)
    assert remembered(line) is remembered(line)
    assert len(asked) == 1
    (tmp_path / "evidence").rmdir()
    remembered(line)
    assert len(asked) == 2
    monkeypatch.setattr(run_sources, "LOOKED_AGAIN_S", 0.0)
    remembered(line)
    assert len(asked) == 3


def test_an_error_is_not_remembered(line: RunLine, tmp_path: Path) -> None:
    answers = [SetupError("the store is away"), FoundEvidence(folder=tmp_path, fetched=True)]

    def find(_line: RunLine) -> FoundEvidence:
        answer = answers.pop(0)
        if isinstance(answer, SetupError):
            raise answer
        return answer

    remembered = RememberedEvidence(find)
    with pytest.raises(SetupError):
        remembered(line)
    assert remembered(line).folder == tmp_path


def test_one_thread_fetches_and_others_are_told_to_come_again(
    line: RunLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_sources, "WAITS_S", 0.05)
    begun, goes_on = threading.Event(), threading.Event()

    def find(_line: RunLine) -> FoundEvidence:
        begun.set()
        assert goes_on.wait(30)
        return FoundEvidence(folder=tmp_path, fetched=True)

    remembered = RememberedEvidence(find)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(remembered, line)
        assert begun.wait(30)
        with pytest.raises(ServiceError, match="is being fetched"):
            remembered(line)
        goes_on.set()
        assert fetching.result().folder == tmp_path
    assert remembered(line).folder == tmp_path
