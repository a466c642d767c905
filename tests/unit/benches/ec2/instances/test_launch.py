"""A launch that EC2 refuses only for now is tried again in the same place; with a stand-in for the engine."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.benches.bench import BenchError, CapacityError, FatalError, QuotaError, TransientError
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.account_limits import AccountLimits
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.engine import resource_failures
from harness.benches.ec2.engine.resource_failures import EngineError
from harness.benches.ec2.engine.stack import StackOutputs, StackSettings
from harness.benches.ec2.images import boot_image
from harness.benches.ec2.images.boot_image import BootImage
from harness.benches.ec2.instances import instance_poll
from harness.benches.ec2.instances.instance_poll import Instance
from harness.benches.ec2.instances.launch import HostLaunch
from harness.benches.ec2.market.catalogue import Catalogue
from harness.model import Token
from harness.model.cloud import CloudOptions, HostInUse, TypeInfo
from harness.model.ec2_enums import Architecture
from harness.system import settings

REGION, TYPE = "eu-north-1", "m7i.large"
HOST = Token(run="k3f9", host="a")
RUN = (
    "1 error occurred:\n\t* creating EC2 Instance: operation error EC2: RunInstances, https response error, api error "
)
THROTTLED = f"{RUN}RequestLimitExceeded: Request limit exceeded."
NO_ROOM = f"{RUN}InsufficientInstanceCapacity: We currently do not have sufficient capacity."
NO_VCPUS = f"{RUN}VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit of 32 allows."
HOST_IN_USE = HostInUse(token=HOST, instance_type=TYPE, region=None, launched=False)
DENIED = f"{RUN}UnauthorizedOperation: You are not authorized."


class Engine:
    """Refuses each request with the next text, then brings the stack up."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals, self.zones = refusals, list[str]()

    def up(self, stack: str, given: StackSettings, *_callbacks: Any) -> StackOutputs:
        self.zones.append(str(given.zone))
        if self.refusals:
            failure = resource_failures.failure("urn", self.refusals.pop(0))
            assert failure is not None
            raise EngineError("up failed", failures=[failure])
        return StackOutputs(
            instance_id="i-1",
            address="192.0.2.1",
            zone=str(given.zone),
            image=given.image,
            architecture="x86_64",
            user="ec2-user",
            placement_group=None,
            security_group=None,
        )


class Watch:
    """Shows the instance once the stack is up, and never otherwise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def wait_until_running(self, token: str, *, cancelled: Any, **_options: Any) -> Instance:
        while self._engine.refusals or not self._engine.zones:
            if cancelled.wait(0.01):
                raise instance_poll.Cancelled
        return Instance(
            id="i-1",
            token=token,
            launched="",
            state="running",
            reason_code="",
            reason="",
            public_address="192.0.2.1",
            private_address=None,
            zone=self._engine.zones[-1],
            placement_group=None,
            key_pair=None,
            volumes=(),
        )


def prepared_bench(api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ec2Bench:
    """A bench that knows the Region, and needs to ask nobody."""
    bench = Ec2Bench(
        replace(settings.load(), state_dir=folder), CloudOptions(region=REGION, controller_cidr="192.0.2.7/32")
    )
    info = TypeInfo(
        name=TYPE,
        family="m7i",
        size="large",
        architecture=Architecture.X86_64,
        vcpus=2,
        memory_mib=8192,
        phc=True,
        ena="required",
        zones=(f"{REGION}a", f"{REGION}b"),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=True,
    )
    bench.region.__dict__["catalogue"] = Catalogue(region=REGION, as_of=answer_cache.utc_now(), types={TYPE: info})
    bench.region.__dict__["groups"] = {}
    bench.region.__dict__["subnets"] = {
        zone: Subnet(
            id="subnet-1", vpc="vpc-1", zone=zone, free_addresses=9, internet_gateway=True, gives_public_address=True
        )
        for zone in info.zones
    }
    image = BootImage(
        name="al2023",
        ami="ami-1",
        architecture=Architecture.X86_64,
        user="ec2-user",
        parameter=None,
        taken="2026-11-21",
        title="",
        root_device=None,
        volume_gib=None,
    )
    monkeypatch.setattr(boot_image, "resolve", lambda *_arguments, **_options: image)
    monkeypatch.setattr(instance_poll, "describe", lambda *_arguments, **_options: [])
    return bench


Launch = Callable[..., tuple[Engine, list[float], list[str], Callable[[], Any]]]


@pytest.fixture
def launch(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Takes EC2's refusals in order; returns the engine, the pauses, the messages, and what launches."""
    bench = prepared_bench(api, tmp_path, monkeypatch)
    with ThreadPoolExecutor(4) as threads:

        def prepare(
            *refusals: str, limits: AccountLimits | None = None
        ) -> tuple[Engine, list[float], list[str], Callable[[], Any]]:
            engine, pauses, messages = Engine(list(refusals)), list[float](), list[str]()
            bench.region.api.limits = limits
            context = replace(
                bench.make_launch_context(HOST.run),
                engine=engine,  # type: ignore[arg-type]
                watch=Watch(engine),  # type: ignore[arg-type]
                threads=threads,
                pause=pauses.append,
                now=lambda: sum(pauses),
            )
            record = bench.begin_record(HOST, TYPE)
            return engine, pauses, messages, HostLaunch(record=record, context=context, progress=messages.append).run

        yield prepare


def test_a_throttled_request_is_made_again_in_the_same_zone(launch: Launch) -> None:
    engine, pauses, messages, run = launch(THROTTLED, THROTTLED, THROTTLED)
    assert run().zone == "eu-north-1a"
    assert engine.zones == ["eu-north-1a"] * 4
    assert 0.5 * (5 + 10 + 20) <= sum(pauses) <= 5 + 10 + 20 + 2
    assert any("RequestLimitExceeded: Request limit exceeded.; waiting for EC2" in text for text in messages)


def test_a_request_that_stays_throttled_is_given_up(launch: Launch) -> None:
    engine, _, _, run = launch(*[THROTTLED] * 9)
    with pytest.raises(TransientError, match="RequestLimitExceeded"):
        run()
    assert engine.zones == ["eu-north-1a"] * 5


class Limits:
    """What processes share, with other hosts that end one after the other, each when it was looked at so often."""

    def __init__(self, *others: HostInUse, looks: int = 3) -> None:
        self.others, self.looks, self.emptied = [*others], looks, list[str]()

    def take(self, _name: str, _size: int, _per_s: float) -> float:
        return 3.0

    def empty(self, name: str, _size: int, _per_s: float, _for_s: float) -> None:
        self.emptied.append(name)

    def list_hosts_in_use(self) -> list[HostInUse]:
        self.looks -= 1
        if self.looks < 0 and self.others:
            self.others.pop()
        return [*self.others]


def other_host(name: str, *, instance_type: str = "c7i.large", region: str | None = REGION) -> HostInUse:
    return HostInUse(token=Token(run="b2c4", host=name), instance_type=instance_type, region=region, launched=True)


def test_a_launch_waits_for_the_limit_of_launches_that_processes_share(launch: Launch) -> None:
    limits = Limits()
    _, pauses, messages, run = launch(THROTTLED, limits=limits)
    assert run().zone == "eu-north-1a"
    assert sum(pauses) >= 3 + 0.5 * 5 + 3
    assert "m7i.large in eu-north-1a: waiting for EC2's limit of requests" in messages
    assert [name.rpartition("/")[2] for name in limits.emptied] == ["run_instances"]


def test_a_host_waits_for_the_quota_until_another_one_has_ended(launch: Launch) -> None:
    engine, pauses, messages, run = launch(NO_VCPUS, limits=Limits(other_host("x")))
    assert run().zone == "eu-north-1a"
    assert engine.zones == ["eu-north-1a"] * 2
    assert sum(pauses) >= 3 * 5
    assert any("VcpuLimitExceeded" in text and text.endswith("another host has ended: b2c4/x/1") for text in messages)


@pytest.mark.parametrize(
    "others",
    [[], [HOST_IN_USE], [other_host("p", instance_type="p5.48xlarge")], [other_host("far", region="us-east-1")]],
)
def test_a_quota_that_nobody_of_ours_uses_is_not_waited_for(launch: Launch, others: list[HostInUse]) -> None:
    engine, _, _, run = launch(NO_VCPUS, limits=Limits(*others, looks=100))
    with pytest.raises(QuotaError, match="VcpuLimitExceeded"):
        run()
    assert engine.zones == ["eu-north-1a"]


def test_hosts_that_never_get_an_instance_are_not_waited_for_long(launch: Launch) -> None:
    _, pauses, _, run = launch(NO_VCPUS, limits=Limits(replace(other_host("x"), launched=False), looks=10_000))
    with pytest.raises(QuotaError):
        run()
    assert 300 <= sum(pauses) < 330


@pytest.mark.parametrize(
    ("refusal", "error", "zones"),
    [(DENIED, FatalError, ["eu-north-1a"]), (NO_ROOM, CapacityError, ["eu-north-1a", "eu-north-1b"])],
)
def test_other_refusals_are_not_waited_for(
    launch: Launch, refusal: str, error: type[BenchError], zones: list[str]
) -> None:
    engine, pauses, _, run = launch(*[refusal] * 9)
    with pytest.raises(error):
        run()
    assert (engine.zones, pauses) == (zones, [])
