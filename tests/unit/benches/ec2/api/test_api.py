"""How AWS is asked: again where that helps, all callers held back together, every call counted."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import example, given
from hypothesis import strategies as st

from harness.benches.bench import CapacityError, FatalError, TransientError
from harness.benches.ec2.api.api import TRIES, Api, exact_filter
from harness.model.cloud import HostInUse
from tests.doubles import ec2_filters

ROOT = Path(__file__).parents[5]
Stubs = Callable[[str], Stubber]
IMAGES = {"Images": []}


class Clock:
    """Takes the place of the time: whoever waits by it waits for nothing."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.now_s = 0.0
        self.meanwhile: Callable[[], object] | None = None
        """What another thread does while the first one pauses."""

    def now(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.meanwhile is not None:
            other = threading.Thread(target=self.meanwhile)
            self.meanwhile = None
            other.start()
            other.join()
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(api: Api, clock: Clock) -> Api:
    """The account of the folder's tests, by a clock that a test may look at."""
    return Api(api.region, pause=clock.pause, now=clock.now)


def ask(api: Api, host: str = "") -> object:
    return api.call("ec2", "describe_images", task="looking", host=host)["Images"]


def test_who_is_throttled_waits_longer_each_time(api: Api, stub: Stubs, clock: Clock) -> None:
    for _ in range(3):
        stub("ec2").add_client_error("describe_images", "RequestLimitExceeded", "Slow down.")
    stub("ec2").add_response("describe_images", IMAGES)
    assert ask(api, "a") == []
    assert api.calls == {("ec2.DescribeImages", "a"): 4}
    assert (api.count_calls("a"), api.count_calls("b"), api.count_calls()) == (4, 0, 4)
    assert len(clock.pauses) == 3
    for number, seconds in enumerate(clock.pauses):
        assert 0.45 * 2**number < seconds <= 2**number


def test_all_callers_wait_for_who_is_throttled(api: Api, stub: Stubs, clock: Clock) -> None:
    """While one pauses, another asks: it pauses as well, for as long."""
    stub("ec2").add_client_error("describe_images", "RequestLimitExceeded", "Slow down.")
    for _ in range(2):
        stub("ec2").add_response("describe_images", IMAGES)
    clock.meanwhile = lambda: ask(api, "b")
    ask(api, "a")
    assert (api.count_calls("a"), api.count_calls("b")) == (2, 1)
    assert len(clock.pauses) == 2
    assert clock.pauses[0] == clock.pauses[1]


class Limits:
    """Limits that other processes share: each token is there after the next of these times."""

    def __init__(self, *waits_s: float) -> None:
        self.waits_s, self.calls = [*waits_s], list[tuple[object, ...]]()

    def take(self, name: str, size: int, per_s: float) -> float:
        self.calls.append(("take", name, size, per_s))
        return self.waits_s.pop(0) if self.waits_s else 0.0

    def empty(self, name: str, size: int, per_s: float, for_s: float) -> None:
        self.calls.append(("empty", name, size, per_s, for_s))

    def list_hosts_in_use(self) -> list[HostInUse]:
        return []


def test_a_shared_limit_is_waited_for_and_told_when_it_was_too_high(api: Api, stub: Stubs, clock: Clock) -> None:
    api.limits = limits = Limits(0.0, 7.5)
    stub("sts").add_response("get_caller_identity", {"Account": "123456789012"})
    stub("ec2").add_response("describe_images", IMAGES)
    stub("ec2").add_client_error("run_instances", "RequestLimitExceeded", "Slow down.")
    ask(api)
    with pytest.raises(TransientError, match="RequestLimitExceeded"):
        api.call("ec2", "run_instances", task="launching", tries=1, MinCount=1, MaxCount=1)
    assert clock.pauses == [7.5]
    reads, launches = f"123456789012/{api.region}/describe_images", f"123456789012/{api.region}/run_instances"
    assert limits.calls == [("take", reads, 100, 20.0), ("take", launches, 5, 2.0), ("empty", launches, 5, 2.0, 1.0)]
    assert api.calls["sts.GetCallerIdentity", ""] == 1


def test_an_account_that_does_not_tell_its_number_shares_its_limits_all_the_same(api: Api, stub: Stubs) -> None:
    api.limits = limits = Limits()
    stub("sts").add_client_error("get_caller_identity", "AccessDenied", "No.")
    for _ in range(2):
        stub("ec2").add_response("create_tags", {})
        api.call("ec2", "create_tags", task="tagging", Resources=["i-1"], Tags=[])
    assert limits.calls == [("take", f"/{api.region}/create_tags", 50, 5.0)] * 2


def test_it_gives_up_in_the_end(api: Api, stub: Stubs) -> None:
    for _ in range(TRIES):
        stub("ec2").add_client_error("describe_images", "Unavailable", "Not now.")
    with pytest.raises(TransientError, match="looking: Unavailable: Not now"):
        ask(api)


@pytest.mark.parametrize(
    ("code", "error"), [("UnauthorizedOperation", FatalError), ("InsufficientInstanceCapacity", CapacityError)]
)
def test_what_will_not_change_is_asked_once(api: Api, stub: Stubs, code: str, error: type[Exception]) -> None:
    stub("ec2").add_client_error("describe_images", code, "No.")
    with pytest.raises(error, match=f"looking: {code}: No"):
        ask(api)
    assert api.count_calls("") == 1


@pytest.mark.parametrize("caught", [ReadTimeoutError(endpoint_url="x"), ConnectionClosedError(endpoint_url="x")])
def test_an_answer_that_is_lost_is_asked_for_again(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch, caught: Exception
) -> None:
    answers = [caught, caught, IMAGES]

    def describe_images() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(api.client("ec2", api.region), "describe_images", describe_images)
    assert ask(api) == []
    assert len(clock.pauses) == 2


def test_where_nobody_answers_the_sentence_says_where(api: Api) -> None:
    with pytest.raises(TransientError, match="looking: AWS in eu-north-1 does not answer: Could not connect") as caught:
        ask(api)
    assert isinstance(caught.value.__cause__, EndpointConnectionError)
    assert "is the Region's name right" in caught.value.next_step


def test_every_page_is_read(api: Api, stub: Stubs) -> None:
    pages = [{"Subnets": [{"SubnetId": "a"}], "NextToken": "more"}, {"Subnets": [{"SubnetId": "b"}]}]
    stub("ec2").add_response("describe_subnets", pages[0], {})
    stub("ec2").add_response("describe_subnets", pages[1], {"NextToken": "more"})
    found = api.pages("ec2", "describe_subnets", "Subnets", task="looking")
    assert [one["SubnetId"] for one in found] == ["a", "b"]


TEXT = st.text(max_size=20) | st.text(st.sampled_from("*?\\[]!ab/1"), max_size=12)


@given(wanted=TEXT, value=TEXT)
@example(wanted="*/*/1", value="k3f9/m7i.large/1")
@example(wanted="k3f9/a/?", value="k3f9/a/1")
@example(wanted="k3f9\\*", value="k3f9*")
@example(wanted="[ab]", value="a")
def test_a_filter_selects_the_very_text_and_nothing_else(wanted: str, value: str) -> None:
    asked = exact_filter("tag:x", wanted)
    assert asked["Name"] == "tag:x"
    assert ec2_filters.any_matches([wanted], asked["Values"])
    assert ec2_filters.any_matches([value], asked["Values"]) is (value == wanted)


def test_every_filter_of_ec2_is_made_so() -> None:
    made = [path.name for path in (ROOT / "harness").rglob("*.py") if '"Values"' in path.read_text()]
    assert made == ["api.py"]
