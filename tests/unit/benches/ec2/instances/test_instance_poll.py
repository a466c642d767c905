"""One thread for all who wait: woken at once, few calls, and an end for everybody whatever EC2 says."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.benches.bench import BenchError, CapacityError, FatalError, TransientError
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.instances import instance_poll
from harness.benches.ec2.instances.instance_poll import Cancelled, Instance, InstancePoll
from tests.doubles import ec2_filters

TICK_S = 0.05
NEVER = threading.Event()
KEY = "ptp-harness-k3f9-signed"
"""The name of the key pair of every instance that is ours."""


class Script:
    """EC2 as told: takes the place of botocore's describe_instances. A state may be an exception."""

    def __init__(self, api: Api) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        api.client("ec2", api.region).describe_instances = self

    def __call__(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        [condition] = Filters
        assert condition["Name"] == "tag:ptp-harness:token"
        self.asked.append(condition["Values"])
        if self.error is not None:
            raise self.error
        shown = [dict(self.instances[name]) for name in condition["Values"] if name in self.instances]
        return {"Reservations": [{"Instances": [one]} for one in shown]}

    def show(self, name: str, state: str, **changes: Any) -> None:
        tags = [{"Key": "ptp-harness:token", "Value": name}]  # here each is called as its token
        told = {"InstanceId": name, "State": {"Name": state}, "Tags": tags, "KeyName": KEY}
        self.instances[name] = told | changes


@pytest.fixture
def script(api: Api) -> Script:
    return Script(api)


@pytest.fixture
def watching(api: Api) -> Iterator[InstancePoll]:
    made = InstancePoll(api, every_s=TICK_S)
    yield made
    give_up = time.monotonic() + 5
    while made.asks:
        assert time.monotonic() < give_up, "the thread goes on though nobody waits"
        time.sleep(0.01)


def later(seconds: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


RUNS = {"PublicIpAddress": "192.0.2.1", "PrivateIpAddress": "10.0.0.1"}


def test_a_host_is_woken_when_it_runs(watching: InstancePoll, script: Script) -> None:
    placed = {"Placement": {"AvailabilityZone": "eu-north-1a", "GroupName": "pg"}}
    script.show("i-1", "pending", PrivateIpAddress="10.0.0.1")
    later(0.3, lambda: script.show("i-1", "running", **RUNS, **placed))
    found = watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=10, cancelled=NEVER)
    assert found == Instance(
        id="i-1",
        token="i-1",
        launched="",
        state="running",
        reason_code="",
        reason="",
        public_address="192.0.2.1",
        private_address="10.0.0.1",
        zone="eu-north-1a",
        placement_group="pg",
        key_pair=KEY,
        volumes=(),
    )
    assert found.address == "192.0.2.1"


def test_one_that_is_not_shown_yet_fails_nobody(watching: InstancePoll, script: Script) -> None:
    later(0.2, lambda: script.show("i-1", "running", **RUNS))
    assert watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=10, cancelled=NEVER).state == "running"


def test_a_public_address_is_waited_for_unless_a_private_one_will_do(watching: InstancePoll, script: Script) -> None:
    script.show("i-1", "running", PrivateIpAddress="10.0.0.1")
    assert (
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=5, cancelled=NEVER, public=False).address
        == "10.0.0.1"
    )
    with pytest.raises(TransientError) as caught:
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=0.3, cancelled=NEVER)
    assert caught.value.message == (
        "the instance of i-1 took longer than 0.3 s to run: it is running without a public address"
    )


@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        (
            {
                "Code": "Server.InsufficientInstanceCapacity",
                "Message": "Server.InsufficientInstanceCapacity: Not enough",
            },
            CapacityError,
            "Server.InsufficientInstanceCapacity: Not enough",
        ),
        (
            {"Code": "Client.InternalError", "Message": "Client.InternalError: Client error on launch"},
            BenchError,
            "Client.InternalError: Client error on launch",
        ),
        (
            {"Code": "Server.SpotInstanceTermination", "Message": "taken"},
            CapacityError,
            "Server.SpotInstanceTermination: taken",
        ),
        ({}, BenchError, "terminated"),
    ],
)
def test_one_that_ends_instead(
    watching: InstancePoll, script: Script, reason: dict[str, str], kind: type[BenchError], words: str
) -> None:
    script.show("i-1", "pending")
    later(0.2, lambda: script.show("i-1", "terminated", StateReason=reason))
    with pytest.raises(BenchError) as caught:
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=10, cancelled=NEVER)
    assert type(caught.value) is kind
    assert caught.value.message == f"the instance i-1 did not come to run: {words}"


def test_a_deadline(watching: InstancePoll, script: Script) -> None:
    with pytest.raises(TransientError) as caught:
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=0.2, cancelled=NEVER)
    assert caught.value.message == "the instance of i-1 took longer than 0.2 s to run: EC2 does not show it"


def test_who_is_told_to_stop_stops(watching: InstancePoll, script: Script) -> None:
    script.show("i-1", "pending")
    stop = threading.Event()
    later(0.2, stop.set)
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=60, cancelled=stop)
    assert time.monotonic() - begun < 5


def test_thirty_hosts_share_the_calls(watching: InstancePoll, script: Script, api: Api) -> None:
    names = [f"i-{number:02}" for number in range(30)]
    for name in names:
        script.show(name, "pending")

    def all_run() -> None:
        for name in names:
            script.show(name, "running", **RUNS)

    with ThreadPoolExecutor(max_workers=30) as pool:
        waits = [
            pool.submit(watching.wait_until_running, name, host=name, key_pair=KEY, deadline_s=30, cancelled=NEVER)
            for name in names
        ]
        later(0.5, all_run)
        assert [wait.result().id for wait in waits] == names
    calls = len(script.asked)
    assert max(map(len, script.asked)) == 30
    assert calls < 30, "fewer than hosts"
    assert sum(api.count_calls(name) for name in names) == api.count_calls() == calls
    assert api.count_calls("") == 0


def test_a_hundred_at_most_in_one_call(watching: InstancePoll, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried with ten, since hundreds of threads take their time."""
    assert instance_poll.BATCH == 100
    monkeypatch.setattr(instance_poll, "BATCH", 10)
    end = threading.Event()
    with ThreadPoolExecutor(max_workers=25) as pool:
        waits = [
            pool.submit(
                watching.wait_until_running, f"i-{number}", host="a", key_pair=KEY, deadline_s=60, cancelled=end
            )
            for number in range(25)
        ]
        give_up = time.monotonic() + 30
        while [len(asked) for asked in script.asked[-3:]] != [10, 10, 5]:
            assert time.monotonic() < give_up, "never are all asked for in three calls"
            time.sleep(0.01)
        end.set()
        for wait in waits:
            with pytest.raises(Cancelled):
                wait.result()
    assert max(len(asked) for asked in script.asked) == 10


def test_nothing_is_asked_while_nobody_waits(watching: InstancePoll, script: Script) -> None:
    script.show("i-1", "running", **RUNS)
    watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=5, cancelled=NEVER)
    time.sleep(4 * TICK_S)
    asked = len(script.asked)
    time.sleep(6 * TICK_S)
    assert len(script.asked) == asked
    watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=5, cancelled=NEVER)
    assert len(script.asked) > asked


def test_who_is_idle_is_not_looked_for(watching: InstancePoll, script: Script, api: Api) -> None:
    script.show("i-1", "running", **RUNS)
    resting = threading.Event()
    resting.set()
    with ThreadPoolExecutor(max_workers=1) as pool:
        wait = pool.submit(
            watching.wait_until_running,
            "i-1",
            host="a",
            key_pair=KEY,
            deadline_s=30,
            cancelled=NEVER,
            idle=resting.is_set,
        )
        time.sleep(6 * TICK_S)
        assert api.count_calls() == 0
        resting.clear()
        assert wait.result().id == "i-1"


def test_a_missing_permission_ends_every_wait(
    watching: InstancePoll, script: Script, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise FatalError("not allowed")

    monkeypatch.setattr(api, "pages", refused)
    with ThreadPoolExecutor(max_workers=2) as pool:
        waits = [
            pool.submit(watching.wait_until_running, f"i-{n}", host="a", key_pair=KEY, deadline_s=60, cancelled=NEVER)
            for n in range(2)
        ]
        for wait in waits:
            with pytest.raises(FatalError, match="not allowed"):
                wait.result()


def test_a_passing_fault_is_waited_out(
    watching: InstancePoll, script: Script, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = api.pages
    faults = [TransientError("busy")] * 3

    def at_first(*words: Any, **more: Any) -> Any:
        if faults:
            raise faults.pop()
        return asked(*words, **more)

    monkeypatch.setattr(api, "pages", at_first)
    script.show("i-1", "running", **RUNS)
    assert watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=10, cancelled=NEVER).state == "running"
    assert faults == []


def test_a_fault_of_ours_is_told_and_ends_no_thread(watching: InstancePoll, script: Script) -> None:
    script.error = RuntimeError("surprise")
    with pytest.raises(FatalError, match="RuntimeError: surprise"):
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=10, cancelled=NEVER)


@pytest.mark.slow
def test_one_that_comes_late_is_looked_for_less_often(watching: InstancePoll, script: Script, api: Api) -> None:
    script.show("i-1", "pending")
    late_s = 40 * TICK_S
    later(late_s, lambda: script.show("i-1", "running", **RUNS))
    begun = time.monotonic()
    watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=60, cancelled=NEVER)
    assert api.count_calls("a") == len(script.asked) <= 16
    assert time.monotonic() - begun < late_s * (1 + 2 / instance_poll.PART) + 1


def test_one_that_begins_to_wait_meanwhile_is_looked_for_soon(watching: InstancePoll, script: Script) -> None:
    script.show("i-2", "running", **RUNS)
    with ThreadPoolExecutor(max_workers=1) as pool:
        stop = threading.Event()
        first = pool.submit(watching.wait_until_running, "i-1", host="a", key_pair=KEY, deadline_s=60, cancelled=stop)
        watching.every_s = 30.0
        time.sleep(4 * TICK_S)
        watching.every_s = TICK_S
        assert watching.wait_until_running("i-2", host="b", key_pair=KEY, deadline_s=10, cancelled=NEVER).id == "i-2"
        stop.set()
        with pytest.raises(Cancelled):
            first.result()


def test_motos_instances(moto_api: Api, ec2: Any) -> None:
    token = "k3f9/m7i.large/1"

    def make(key: str = KEY) -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "ptp-harness:token", "Value": token}]}]
        asked = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "KeyName": key, "TagSpecifications": tags}
        return str(ec2.run_instances(**asked)["Instances"][0]["InstanceId"])

    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["al2023-ami-2023*"]}])["Images"][0]["ImageId"]
    for key in (KEY, "theirs"):
        ec2.create_key_pair(KeyName=key)
    first = make()
    looks = InstancePoll(moto_api, every_s=TICK_S)
    found = looks.wait_until_running(token, host="a", key_pair=KEY, deadline_s=60, cancelled=NEVER)
    assert (found.id, found.token, found.state, found.zone) == (first, token, "running", "eu-north-1a")
    assert found.address
    ec2.terminate_instances(InstanceIds=[first])
    assert [one.state for one in instance_poll.describe(moto_api, [token, "nobody"], hosts=["a"])] == ["terminated"]

    second = make()  # the next attempt, whose stack has the same token
    assert make("theirs"), "somebody's, with a copy of the token"
    found = looks.wait_until_running(
        token, host="a", key_pair=KEY, deadline_s=60, cancelled=NEVER, without=frozenset({first})
    )
    assert found.id == second


def test_an_instance_with_a_copy_of_the_token_is_not_taken_for_ours(watching: InstancePoll, script: Script) -> None:
    script.show("i-1", "running", **RUNS, KeyName="theirs", LaunchTime="2099")
    with pytest.raises(TransientError, match="EC2 does not show it"):
        watching.wait_until_running("i-1", host="a", key_pair=KEY, deadline_s=0.3, cancelled=NEVER)
    with pytest.raises(TransientError, match="EC2 does not show it"):
        watching.wait_until_running("i-1", host="a", key_pair="", deadline_s=0.3, cancelled=NEVER)


def test_a_token_with_wildcards_selects_no_other_s_instances(
    moto_api: Api, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2_filters.install(monkeypatch.setattr)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "ptp-harness:token", "Value": "w2c4/m7i.large/1"}]}]
    ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, TagSpecifications=tags)
    everybody_s = [{"Name": "tag:ptp-harness:token", "Values": ["*/*/1"]}]
    assert ec2.describe_instances(Filters=everybody_s)["Reservations"] != []
    assert instance_poll.describe(moto_api, ["w2c4/m7i.large/1"], hosts=["a"]) != []
    for token in ("*", "*/*/1", "w2c4/m7i.large/?", "w2c4/*"):
        assert instance_poll.describe(moto_api, [token], hosts=["a"]) == []
