"""`watch add`, `list`, `remove` and `worker`: what is added is reached as it was found, and mistakes are named."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.store.ledger import Ledger
from harness.store.watch_samples import WatchSamples
from harness.store.watch_sources import WatchSources
from harness.store.watch_streams import WatchStreams
from harness.store.watch_view import WatchViews
from harness.watch.leader import Leader
from tests.servers import postgresql
from tests.servers.clock_hosts import ClockHosts

ROOT = Path(__file__).parents[3]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbyBiYXIgYmF6IHF1eCBmb28gYmFyIGJheiBx"

pytestmark = pytest.mark.programs


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who knows the keys of two hosts."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"10.0.0.5 {KEY}\n[10.0.0.6]:2222 {KEY}\n")
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "USER": "ada",
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "state"),
        "PTP_HARNESS_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(environ: dict[str, str], tmp_path: Path) -> Call:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", "watch", *words]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return call


def test_hosts_are_added_listed_and_removed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("instance_types: [any]\nlimits: {phc_offset_ns: {median_abs: 900}}\n")
    done = call("add", "admin@10.0.0.5", "10.0.0.6:2222", "--interval", "2", "--limits", "limits.yaml")
    first_line, *notes = done.stderr.splitlines()
    assert (done.returncode, first_line) == (0, "2 added: 10.0.0.5, 10.0.0.6-2222")
    assert any("convergence is not judged" in note for note in notes), "what a watch does not judge is told"
    again = call("add", "10.0.0.5", "--json")
    assert json.loads(again.stdout) == {"added": [], "there_already": ["10.0.0.5"]}
    first, second = json.loads(call("list", "--json").stdout)
    assert {name: first[name] for name in ("stream", "kind", "user", "address", "port", "interval_s", "weight")} == {
        "stream": "10.0.0.5", "kind": "inventory", "user": "admin", "address": "10.0.0.5", "port": 22,
        "interval_s": 2.0, "weight": 0.5,
    }  # fmt: skip
    assert first["limits"] == {"bench": "hosts", "limits": {"phc_offset_ns": {"median_abs": 900}}}
    assert (second["user"], second["address"], second["port"], second["worker"]) == ("ada", "10.0.0.6", 2222, None)
    text = call("list").stdout
    assert "admin@10.0.0.5:22" in text
    assert "nobody" in text
    gone = call("remove", "10.0.0.5", "10.0.0.6-2222")
    assert (gone.returncode, gone.stderr.count("is no longer watched")) == (0, 2)
    assert "no host is watched" in call("list").stderr


def test_hosts_of_an_inventory_are_added_with_their_proxy_and_clock(
    call: Call, tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "hosts.yaml").write_text(
        f"""all:
  vars: {{ansible_user: admin, ptp_harness_known_hosts: {tmp_path}/keys}}
  children:
    clocks:
      hosts:
        a:
          ansible_host: 10.1.0.1
          ansible_ssh_common_args: "-J gate@10.9.0.1:2200"
          clock_facts_clock_name: mlx5_ptp
        b: {{ansible_host: 10.1.0.2, ansible_ssh_common_args: '-o ProxyCommand="nc -X 5 %h %p"'}}
    others: {{hosts: {{c: {{ansible_host: 10.1.0.3}}}}}}
"""
    )
    (tmp_path / "keys").write_text("".join(f"10.1.0.{number} {KEY}\n" for number in (1, 2, 3)))
    done = call("add", "-i", "hosts.yaml", "clocks", "--profile", "mifid-ii-hft")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "2 added: a, b")
    ledger = Ledger(f"sqlite:///{environ['PTP_HARNESS_STATE_DIR']}/ledger.sqlite")
    setups = WatchSources(ledger.database).read()
    ledger.close()
    assert setups["a"].source["proxy"] == (
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -W '[%h]:%p' ssh://gate@10.9.0.1:2200"
    )
    assert setups["a"].source["clock_name"] == "mlx5_ptp"
    assert setups["a"].source["known_hosts"] == f"10.1.0.1 {KEY}\n"
    assert setups["b"].source["proxy"] == "nc -X 5 %h %p"
    assert setups["a"].limits["bench"] == "hosts"
    assert {limit["profile"] for limit in setups["a"].limits["profile_limits"]} == {"mifid-ii-hft"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no host to watch is named"),
        (("--kept", "abcd", "-i", "hosts.yaml"), "exclude each other"),
        (("10.0.0.9",), "the host key of 10.0.0.9 is not known"),
        (("a b",), "'a b' is no host to watch"),
        (("10.0.0.5", "--interval", "0.1"), "Invalid value for '--interval'"),
        (("10.0.0.5", "--profile", "mifid"), "there is no profile 'mifid'"),
        (("10.0.0.5", "--limits", "nowhere.yaml"), "nowhere.yaml"),
        (("10.0.0.5", "--limits", "a.yaml", "--profile", "mifid-ii-hft"), "--limits and --profile exclude each other"),
        (("10.0.0.5", "--key", "/nowhere/key"), "its SSH key /nowhere/key cannot be read"),
        (("-i", "nowhere.yaml"), "there is no inventory nowhere.yaml"),
        (("--kept", "abcd"), "abcd"),
        (("--ec2-tag", "role"), "--ec2-tag is 'role'"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_added(call: Call, words: tuple[str, ...], message: str) -> None:
    done = call("add", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(call("list", "--json").stdout) == []


def test_a_host_that_is_not_watched_is_named(call: Call) -> None:
    done = call("remove", "10.0.0.5")
    assert (done.returncode, "'10.0.0.5' is not watched" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["a b", "-x", "../w", "w" * 65])
def test_a_worker_has_a_name_that_is_a_name(call: Call, name: str) -> None:
    done = call("worker", f"--name={name}")
    assert (done.returncode, "--name is" in done.stderr) == (2, True)


def until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_loses_no_reading_that_it_had_and_doubles_none(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """A real worker, killed in the middle of a minute, and the next one of its name."""

    async def run() -> None:
        servers = ClockHosts(tmp_path)
        hosts = await servers.add(5)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, act, servers, hosts)
        await servers.close()

    def act(servers: ClockHosts, hosts: list[Any]) -> None:
        from harness.store.watch_streams import NewStream

        state = Path(environ["PTP_HARNESS_STATE_DIR"])
        ledger = Ledger(f"sqlite:///{state / 'ledger.sqlite'}")
        streams, samples = WatchStreams(ledger.database), WatchSamples(ledger.database)
        streams.add([NewStream(stream=host.name, source=servers.source(host), limits={}) for host in hosts], by="ada")
        leader = Leader(streams, "hub")

        def lead_until(condition: Callable[[], object]) -> None:
            until(lambda: (leader.step(), condition())[1])

        command = [sys.executable, "-m", "harness", "watch", "worker", "--name", "w1", "--drain-s", "1"]
        worker = subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            lead_until(lambda: all(len(host.asked) >= 8 for host in hosts))
            time.sleep(2)
            worker.send_signal(signal.SIGKILL)
            worker.wait(30)
            asked = {host.name: [*host.asked] for host in hosts}
            for host in hosts:
                host.asked.clear()
            worker = subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            lead_until(lambda: all(len(host.asked) >= 3 for host in hosts))
            worker.send_signal(signal.SIGTERM)
            lead_until(lambda: worker.poll() is not None)
            assert worker.returncode == 0
        finally:
            worker.kill()
            worker.wait(30)
        for host in hosts:
            stored = [reading.tick for reading in samples.read(host.name, 0, 2**60, interval_ns=10**9)]
            lost = {*asked[host.name]} - {*stored}
            assert lost <= {*asked[host.name][-2:]}, "at most what was not answered, or not a second old"
        keys = samples.list_finished(2**60)
        pairs = [(chunk.stream, reading.tick) for chunk in samples.read_chunks(keys) for reading in chunk.readings]
        assert len(pairs) == len({*pairs})
        ledger.close()

    asyncio.run(run())


@pytest.mark.timeout(300)
def test_a_leader_and_a_worker_that_begin_while_the_ledger_is_away_wait_for_it(
    own_server: postgresql.Server, environ: dict[str, str], tmp_path: Path
) -> None:
    environ["PTP_HARNESS_LEDGER_URL"] = own_server.make_database("watch")
    own_server.stop()
    command = [sys.executable, "-m", "harness", "watch"]
    processes = {
        name: subprocess.Popen([*command, name], env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for name in ("serve", "worker")
    }
    try:
        for process in processes.values():
            assert process.stderr is not None
            assert "waiting for the ledger: cannot use the ledger" in process.stderr.readline()
        own_server.start()
        ledger = Ledger(environ["PTP_HARNESS_LEDGER_URL"])
        views = WatchViews(ledger.database)
        until(lambda: views.read().workers and views.read().leader)
        ledger.close()
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in processes.values()] == [0, 0]
    finally:
        for process in processes.values():
            process.kill()
            process.wait(30)
