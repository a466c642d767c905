"""A worker process that is cut off from its hosts, and from nothing else, loses its streams to another one."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.model.enums import Reason
from harness.store.watch_database import open_watch_database
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_states import WatchStates
from harness.store.watch_streams import WatchStreams
from tests.programs.watched_fleet import HOSTS, make_fleet, wait_until
from tests.servers.star_network import MachineLacksError

STREAMS, LEAST = 12, 3
WITHIN_S = 120.0
"""10 s until the hosts count as silent, 30 s until this is an incident, 10 s until its worker is left out, and as long
again for a machine with much else to do."""


@pytest.mark.programs
@pytest.mark.timeout(600)
def test_the_streams_of_a_worker_that_is_cut_off_from_its_hosts_are_sampled_by_another(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    try:
        with make_fleet(tmp_path, workers=2, streams=STREAMS) as fleet:
            database = open_watch_database(fleet.local_url)
            streams, states, log = WatchStreams(database), WatchStates(database), WatchLog(database)

            def count(worker: str) -> int:
                return sum(line.owner == worker for line in streams.list_streams())

            def all_answer() -> bool:
                words = states.list()
                reached = (word.sampled_ns is not None and word.old_s is None for word in words)
                return all(reached) and all(word.reason is not Reason.UNREACHABLE for word in words)

            wait_until(lambda: min(count("w0"), count("w1")) >= LEAST, 60.0, "that both have streams")
            wait_until(all_answer, 60.0, "that all are sampled")
            begun_s = time.monotonic()
            fleet.network.cut("w0", HOSTS)
            wait_until(lambda: count("w1") == STREAMS and all_answer(), WITHIN_S, "that the other worker samples all")
            record_property("counted", f"all sampled {time.monotonic() - begun_s:.0f} s after a worker was cut off")
            told = [line.entry.sentence for line in log.list_lines(kinds=(LogKind.MEND,))]
            assert [sentence for sentence in told if sentence.startswith("worker w0 does not reach ")]
            epochs = {line.stream: line.epoch for line in streams.list_streams()}
            assert max(epochs.values()) <= 3, "no stream went to and fro"
            database.close()
    except MachineLacksError as error:
        pytest.skip(str(error))
