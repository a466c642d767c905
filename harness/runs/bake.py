"""Bake images that campaigns can start from: copied from a host that passed, proven by a host made from the copy.

A bake is a run with further steps after the verdicts: each host that passed is anonymised, its disk becomes an image,
and a second run qualifies a host made from that image. Only then is the image published; otherwise it is removed. The
first run stays open meanwhile, so that all that a bake makes belongs to a run whose state `sweep` knows.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from harness.benches.bench import Bench, BenchError, Progress
from harness.campaign.campaign import Campaign
from harness.campaign.choices import DriverSource, Keep
from harness.campaign.selection import size_order
from harness.errors import HarnessError, RequestError
from harness.host import ssh
from harness.host.playbooks import Target
from harness.model import HostRecord, HostState, Outcome, RunRecord, Stage, Token
from harness.model.cloud import BakedImage, TypeInfo
from harness.model.ec2_enums import Architecture, Market
from harness.model.image_aliases import BAKED, BAKED_NAME
from harness.runs import campaign_run, host_workers, kept_hosts
from harness.runs.context import Interrupted, RunContext, RunControls
from harness.runs.prepare import Benches, Prepared, prepare_resolved
from harness.store.ledger import Ledger
from harness.system import proc
from harness.system.settings import Settings
from harness.untrusted.plain_text import printable

ANONYMISE = Path(__file__).parents[1] / "host" / "anonymise.sh"
_ANONYMISE_DEADLINE_S = 120.0


class ImageMaker(Protocol):
    """Makes images of running hosts; each bench that can has its own."""

    def make(self, host: Token, *, name: str, driver: str, progress: Progress) -> BakedImage:
        """Make a candidate: an image of a host, which is stopped for it. Raises BenchError."""

    def publish(self, image: BakedImage, *, proof: str) -> None:
        """Let campaigns start from the image; `proof` is the run that proved it. Raises BenchError."""

    def retire(self, image: BakedImage, *, older: int) -> Sequence[BakedImage]:
        """Remove older published images of the same name and architecture, except the newest `older` of them."""

    def drop(self, host: Token) -> None:
        """Remove all that was made of a host and is not a published image. Raises CleanupError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeRequest:
    """The request: bake the hosts of a prepared campaign, one for each architecture, into images of this name."""

    campaign: Campaign
    name: str
    older: int  # number of images published earlier that stay


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeContext:
    """The parts that a bake works with. `make_image_maker` gives the image maker of a bench, which waits by `pause`.

    Both runs of the bake have the same controls: once their `stop` is set, the bake removes what it made.
    """

    benches: Benches
    make_image_maker: Callable[[Bench, Callable[[float], None]], ImageMaker]
    ledger: Ledger
    settings: Settings
    controls: RunControls

    def prepare(self, campaign: Campaign) -> Prepared:
        """Prepare one of the two runs; the request's campaign has its driver already."""
        return prepare_resolved(campaign, self.settings, self.benches, fetch_driver=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeResult:
    """The result for one host: its image, or why there is none. `proof` is the host that was made from the image."""

    host: HostRecord
    image: BakedImage | None = None
    proof: HostRecord | None = None
    proof_run: str = ""
    why: str = ""
    retired: tuple[str, ...] = ()
    not_retired: str = ""

    @property
    def outcome(self) -> Outcome:
        """The verdict that decided: the host's own, else the verdict of the host made from its image."""
        if self.host.verdict.outcome is not Outcome.PASS:
            return self.host.verdict.outcome
        if self.proof is not None and self.proof.verdict.outcome is not Outcome.PASS:
            return self.proof.verdict.outcome
        return Outcome.PASS if self.image is not None else Outcome.INCONCLUSIVE


def smallest_with_clock(types: Mapping[str, TypeInfo]) -> tuple[str, ...]:
    """Find the smallest type of each architecture with a clock by the API's claim. Raises RequestError without any."""
    with_clock = sorted((info for info in types.values() if info.phc and info.current_generation), key=size_order)
    smallest = [next((info.name for info in with_clock if info.architecture == arch), None) for arch in Architecture]
    if not any(smallest):
        raise RequestError(
            "the API claims a PTP hardware clock of no type of this Region", next_step="name the types to bake on"
        )
    return tuple(name for name in smallest if name is not None)


def default_name(campaign: Campaign) -> str:
    """Return the name of the image that the hosts start from: an image that is baked again keeps its name."""
    match = BAKED.fullmatch(campaign.cloud.image_name)
    return match[1] if match else campaign.cloud.image_name


def check_request(request: BakeRequest, types: Mapping[str, TypeInfo]) -> None:
    """Raise RequestError for a request that cannot be baked, before anything is made."""
    campaign = request.campaign
    if not BAKED_NAME.fullmatch(request.name):
        raise RequestError(
            f"{request.name!r} cannot name an image",
            next_step="up to 63 of a-z, 0-9, `.`, `_` and `-`, of which the first is a letter or digit",
        )
    if campaign.read_only:
        raise RequestError(
            "a read-only campaign changes nothing on its hosts, so there is nothing to bake",
            next_step="remove `read_only` from the campaign",
        )
    if campaign.cloud.market is Market.SPOT:
        raise RequestError(
            "a spot instance cannot be stopped for its disk to be copied", next_step="bake with `market: on-demand`"
        )
    for architecture in Architecture:
        same = [name for name in campaign.instance_types if name in types and types[name].architecture == architecture]
        if len(same) > 1:
            raise RequestError(
                f"one image is made for each architecture, and {' and '.join(same)} are all {architecture}",
                next_step="name one of them",
            )


def bake(request: BakeRequest, context: BakeContext) -> tuple[RunRecord, Sequence[BakeResult]]:
    """Qualify, copy, qualify the copies, publish. Return the first run's record and the result for each host of it."""
    prepared = context.prepare(replace(request.campaign, keep=Keep.NONE))
    run = campaign_run.begin(prepared, context.ledger, context.settings, context.controls, holds_passed=True)
    copies = _Bake(request, context, run)
    with context.controls.while_leading(run.run):
        records = host_workers.qualify_hosts(prepared.plan, run)
        try:
            copies.bake([host for host in records if host.state is HostState.UNDECIDED])
        except Exception as error:
            run.failures.note("baking images", error)
        finally:
            records = kept_hosts.settle_undecided(records, (), run)
        record = campaign_run.end(records, run, ended_ns=campaign_run.read_time(run))
    return record, [copies.result(host) for host in record.hosts]


class _Bake:
    """Carries out the steps after the verdicts. Each host that passed has a result."""

    def __init__(self, request: BakeRequest, context: BakeContext, run: RunContext) -> None:
        self.request, self.context, self.run = request, context, run
        self.results: dict[str, BakeResult] = {}
        self.candidates: dict[str, BakedImage] = {}
        self.maker = context.make_image_maker(run.bench, self._pause)

    def bake(self, passed: Sequence[HostRecord]) -> None:
        """Copy the hosts that passed, prove the copies, publish the proven ones. The others are removed."""
        self.results = {host.name: BakeResult(host=host) for host in passed}
        try:
            self._copy()
            if self.candidates:
                self._prove()
            for name in self.candidates:
                self._publish(name)
        except Interrupted:
            for name, result in self.results.items():
                self._note(name, why=result.why or ("" if result.image else "interrupted"))
        finally:
            self._drop()

    def result(self, host: HostRecord) -> BakeResult:
        """Return the result for a host of the first run."""
        return replace(self.results.get(host.name, BakeResult(host=host, why="its host did not pass")), host=host)

    def _copy(self) -> None:
        """Make a candidate of each host, in parallel. A host that cannot be copied does not stop the others."""
        with ThreadPoolExecutor(max(1, len(self.results)), thread_name_prefix="bake") as pool:
            futures = [pool.submit(self._make, self._token(name)) for name in self.results]
        for future in futures:
            future.result()

    def _make(self, host: Token) -> None:
        """Make a candidate of one host. Raises Interrupted."""
        step, ended = self.context.ledger.begin_step(host, Stage.BAKE), "our fault"
        progress = self._make_progress(host.host)
        try:
            progress("anonymising the host: keys, logs, leases and the machine id are removed")
            anonymise(host, self.run)
            driver = driver_name(self.request.campaign)
            self.candidates[host.host] = self.maker.make(host, name=self.request.name, driver=driver, progress=progress)
            ended = "done"
        except Interrupted:
            ended = "interrupted"
            raise
        except HarnessError as error:
            ended = str(error)
        finally:
            self.context.ledger.end_step(step, ended)
            self._note(host.host, why="" if ended == "done" else ended)

    def _prove(self) -> None:
        """Qualify a host made from each candidate, in one run. Raises Interrupted."""
        requested, image = self.request.campaign, f"baked:{self.request.name}@{self.run.run}"
        copied = [result for name, result in self.results.items() if name in self.candidates]
        campaign = replace(
            requested,
            cloud=replace(requested.cloud, image=image),
            instance_types=tuple(result.host.instance_type for result in copied),
            keep=Keep.NONE,
        )
        context = self.context
        record = campaign_run.start(context.prepare(campaign), context.ledger, context.settings, context.controls)
        for result, proof in zip(copied, record.hosts, strict=True):
            passed = proof.verdict.outcome is Outcome.PASS
            why = "" if passed else f"a host made from it does not pass (run {record.run})"
            self._note(result.host.name, proof=proof, proof_run=record.run, why=why)
        if record.interrupted:
            raise Interrupted

    def _publish(self, name: str) -> None:
        """Publish an image whose proof passed, then remove the older ones it replaces. Raises Interrupted."""
        result, image = self.results[name], self.candidates[name]
        if result.proof is None or result.proof.verdict.outcome is not Outcome.PASS:
            return
        self._make_progress(name)(f"publishing {image.ident}")
        try:
            self.maker.publish(image, proof=result.proof_run)
        except BenchError as error:
            self._note(name, why=str(error))
            return
        self._note(name, image=replace(image, proof=result.proof_run))
        try:
            removed = self.maker.retire(image, older=self.request.older)
            self._note(name, retired=tuple(predecessor.ident for predecessor in removed))
        except HarnessError as error:
            self._note(name, not_retired=str(error))

    def _drop(self) -> None:
        """Remove every candidate that is not published. The end of the run finds and names any that remain."""
        for name, result in self.results.items():
            if result.image is None:
                try:
                    self.maker.drop(self._token(name))
                except Exception as error:  # the other hosts' candidates go all the same
                    self._note(name, why="; ".join(why for why in (result.why, str(error)) if why))

    def _token(self, name: str) -> Token:
        return Token(run=self.run.run, host=name, attempt=self.results[name].host.attempt)

    def _note(self, name: str, **changes: Any) -> None:
        self.results[name] = replace(self.results[name], **changes)

    def _make_progress(self, name: str) -> Progress:
        """Make a function that publishes a host's progress, and raises Interrupted once the bake was asked to stop."""

        def progress(text: str) -> None:
            if self.context.controls.stop.is_set():
                raise Interrupted
            self.run.events.publish(text, host=name, stage=Stage.BAKE)

        return progress

    def _pause(self, seconds: float) -> None:
        if self.context.controls.stop.wait(seconds):
            raise Interrupted


def anonymise(host: Token, run: RunContext) -> None:
    """Remove keys, logs and leases from a running host. Raises HarnessError."""
    machine = kept_hosts.find_machine(host.run, host.host, run.bench, run.ledger)
    folder = run.folder.host(host.host)
    known_hosts = ssh.write_known_hosts(machine, folder.path)
    with ssh.shared_connection() as control:
        target = Target(machine=machine, known_hosts=known_hosts, control=control)
        result = proc.run(target.as_root("sh", "-s"), stdin=ANONYMISE.read_text(), timeout_s=_ANONYMISE_DEADLINE_S)
    folder.write("anonymise.log", printable(result.stdout + result.stderr))


def driver_name(campaign: Campaign) -> str:
    """Return the name of the driver in an image, for the image's tag."""
    driver = campaign.driver
    if driver.source is DriverSource.ARCHIVE:
        return Path(driver.value or "").name
    return driver.value or driver.source.value
