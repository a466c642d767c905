"""Workers of the watch as pods: each has its pod's name, and one that is to end gives its streams to another first."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.resources import apps_v1, networking_v1, policy_v1
from lightkube.resources.core_v1 import Pod
from lightkube.types import CascadeType

from harness.store.watch_database import open_watch_database
from harness.store.watch_samples import WatchSamples
from harness.store.watch_streams import LEASE_S, NewStream, WatchStreams
from harness.store.watch_view import WatchViews
from tests.cluster.conftest import BASE, SPACE, Team, create, make_secret
from tests.servers import scripted_image
from tests.servers.clock_hosts import ClockHosts, Host, share_answer

__all__ = ["networking_v1", "policy_v1"]  # objects of these are made from their documents
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

WATCH = BASE.parent / "watch"
WORKERS, PART = "ptp-harness-watch-worker", "ptp-harness.dev/part"
STREAMS = [f"host-{number}" for number in range(6)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[ClockHosts, Host]]:
    """A simulated host on this machine's loopback, served by a thread."""
    hosts, loop = ClockHosts(tmp_path), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    one = Host(name="host", address="127.0.0.1", answer=share_answer)
    hosts.hosts["host"] = one
    asyncio.run_coroutine_threadsafe(hosts.listen(one), loop).result(30)
    yield hosts, one
    asyncio.run_coroutine_threadsafe(hosts.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


@pytest.fixture
def watching(team: Team, host: tuple[ClockHosts, Host]) -> Iterator[WatchStreams]:
    """The watch as its folder has it, with streams of one host that pods reach through a relay."""
    hosts, one = host
    relay = team.cluster.publish(hosts.port)
    address, port = relay.url.rpartition("/")[2].split(":")
    known = f"[{address}]:{port} {hosts.key.export_public_key().decode().strip()}\n"
    source = hosts.source(one) | {"address": address, "port": int(port), "key": None, "known_hosts": known}
    streams = WatchStreams(open_watch_database(team.ledger_url))
    streams.add([NewStream(stream=name, source=source, limits={}) for name in STREAMS], by="ada")
    create(team.admin, make_secret("ptp-harness-ssh", {"id_ed25519": hosts.user_key.read_text()}))
    for file in yaml.safe_load((WATCH / "kustomization.yaml").read_text())["resources"]:
        for document in yaml.safe_load_all((WATCH / file).read_text()):
            create(team.admin, use_image(document))
    yield streams
    for part in ("worker", "leader"):
        name = f"ptp-harness-watch-{part}"
        team.admin.delete(apps_v1.Deployment, name, namespace=SPACE, cascade=CascadeType.FOREGROUND)


def use_image(document: dict[str, Any]) -> dict[str, Any]:
    """Let a Deployment use the image of the tests, which has this checkout's code."""
    if document["kind"] == "Deployment":
        (container,) = document["spec"]["template"]["spec"]["containers"]
        container |= {"image": scripted_image.NAME, "imagePullPolicy": "Never"}
    return document


def list_pods(team: Team) -> set[str]:
    pods = team.admin.list(Pod, namespace=SPACE, labels={PART: "watch-worker"})
    return {str(pod.metadata.name) for pod in pods if pod.metadata}


def list_owners(streams: WatchStreams) -> list[str]:
    return [line.owner or "" for line in streams.list_streams() if line.leased]


def describe(team: Team, streams: WatchStreams) -> str:
    """The streams, the workers, and the end of the log of each pod."""
    views = WatchViews(open_watch_database(team.ledger_url))
    told = [*map(str, views.list_streams()), *map(str, streams.list_workers())]
    for pod in list_pods(team):
        told += [pod, *team.admin.log(pod, namespace=SPACE, tail_lines=20)]
    return "\n".join(told)


def scale(team: Team, replicas: int) -> None:
    change = {"spec": {"replicas": replicas}}
    team.admin.patch(apps_v1.Deployment.Scale, WORKERS, change, namespace=SPACE)


def test_workers_share_the_streams_and_one_that_is_removed_hands_its_own_over(
    team: Team, watching: WatchStreams
) -> None:
    cluster, views = team.cluster, WatchViews(open_watch_database(team.ledger_url))

    def shared() -> bool:  # in which parts depends on how fast each is
        owners = list_owners(watching)
        return len(owners) == len(STREAMS) and len({*owners}) == 2

    try:
        cluster.wait_for(shared, "two workers share the streams", within_s=180)
    except AssertionError as error:
        raise AssertionError(describe(team, watching)) from error
    assert {worker.worker for worker in watching.list_workers()} == list_pods(team)
    cluster.wait_for(lambda: all(line.tick for line in views.list_streams()), "each is sampled", within_s=60)
    scale(team, 1)
    cluster.wait_for(lambda: len(watching.list_workers()) == 1, "the removed one leaves the ledger", within_s=90)
    cluster.wait_for(lambda: len(list_pods(team)) == 1, "its pod is gone within the grace period", within_s=90)
    (kept,) = list_pods(team)
    assert list_owners(watching) == [kept] * len(STREAMS)
    latest = {line.stream: line.tick or 0 for line in views.list_streams()}
    cluster.wait_for(
        lambda: all((line.tick or 0) > latest[line.stream] + 3 for line in views.list_streams()), "it goes on"
    )
    scale(team, 0)
    cluster.wait_for(lambda: not watching.list_workers(), "the last one leaves the ledger, too", within_s=90)
    samples = WatchSamples(open_watch_database(team.ledger_url))
    for name in STREAMS:
        ticks = [reading.tick for reading in samples.read(name, 0, 2**60, interval_ns=10**9)]
        assert ticks[-1] > latest[name], name
        longest_s = max(later - earlier for earlier, later in pairwise(ticks))
        assert longest_s < LEASE_S, f"{name} was handed over, and not found by the end of a lease"
