"""Bake images that campaigns can start from: copied from a host that passed, proven by a host made from the copy.

A bake is a run whose hosts are not kept but copied: each host that passed is anonymised, its disk becomes an image, and
a second run qualifies a host made from that image. Only then is the image published; otherwise it is removed. The first
run stays open meanwhile, so that whatever a bake makes belongs to a run that `sweep` knows to be alive or dead.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from harness.benches.bench import Bench, BenchError, Progress
from harness.campaign.campaign import Campaign, DriverSource, Keep
from harness.campaign.selection import size_order
from harness.errors import HarnessError, RequestError
from harness.host import ssh
from harness.host.playbooks import Target
from harness.model import HostRecord, Outcome, RunRecord, Stage, Token
from harness.model.cloud import BakedImage, TypeInfo
from harness.model.ec2_enums import Architecture, Market
from harness.model.image_aliases import BAKED, BAKED_NAME
from harness.runs import campaign_run, kept_hosts
from harness.runs.context import Chooser, Interrupted, Listener, RunControls, keep_none
from harness.runs.prepare import Benches, Prepared, prepare_resolved
from harness.store.evidence_folder import EvidenceFolder
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
        """Remove whatever of a host did not become a published image. Raises CleanupError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeRequest:
    """The request: bake the hosts of a prepared campaign, one for each architecture, into images of this name."""

    campaign: Campaign
    name: str
    older: int  # number of images published earlier that stay


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeContext:
    """The parts that a bake works with. `maker_of` gives the image maker of a bench.

    `make_controls` gives the controls of each run that a bake leads. Inside the context that `interruptible` gives, a
    request to stop raises KeyboardInterrupt, if the caller takes such requests at all.
    """

    benches: Benches
    maker_of: Callable[[Bench, Callable[[float], None]], ImageMaker]
    ledger: Ledger
    settings: Settings
    listener: Listener  # takes the news of the bake itself
    make_controls: Callable[[Chooser], RunControls]
    interruptible: Callable[[], AbstractContextManager[None]] = nullcontext

    def prepare(self, campaign: Campaign) -> Prepared:
        """Prepare one of the two runs; the request's campaign has its driver already."""
        return prepare_resolved(campaign, self.settings, self.benches, fetch_driver=False)

    def start(self, prepared: Prepared, choose: Chooser = keep_none) -> RunRecord:
        """Lead one run to its end."""
        return campaign_run.start(prepared, self.ledger, self.settings, self.make_controls(choose))


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
    """The smallest type of each architecture with a clock by the API's claim. Raises RequestError if there is none."""
    with_clock = sorted((info for info in types.values() if info.phc and info.current_generation), key=size_order)
    smallest = [next((info.name for info in with_clock if info.architecture == arch), None) for arch in Architecture]
    if not any(smallest):
        raise RequestError(
            "the API claims a PTP hardware clock of no type of this Region", next_step="name the types to bake on"
        )
    return tuple(name for name in smallest if name is not None)


def default_name(campaign: Campaign) -> str:
    """The name of the image that the hosts start from: an image that is baked again keeps its name."""
    match = BAKED.fullmatch(campaign.cloud.image_name)
    return match[1] if match else campaign.cloud.image_name


def check_request(order: BakeRequest, types: Mapping[str, TypeInfo]) -> None:
    """Raise RequestError for a request that cannot be baked, before anything is made."""
    campaign = order.campaign
    if not BAKED_NAME.fullmatch(order.name):
        raise RequestError(
            f"{order.name!r} cannot name an image",
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


def bake(order: BakeRequest, context: BakeContext) -> tuple[RunRecord, Sequence[BakeResult]]:
    """Qualify, copy, qualify the copies, publish. The first run's record, and the result for each of its hosts."""
    campaign = replace(order.campaign, keep=Keep.ASK)
    prepared = context.prepare(campaign)
    work = _Bake(order, context, prepared.bench)
    record = context.start(prepared, work.bake)
    return record, [work.result(host) for host in record.hosts]


@dataclass(slots=True)
class _Bake:
    """A bake under way. Each host has a result from the beginning; a candidate enters it once it is published."""

    order: BakeRequest
    context: BakeContext
    bench: Bench
    results: dict[str, BakeResult] = field(default_factory=dict)
    candidates: dict[str, BakedImage] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def bake(self, run: str, hosts: Sequence[HostRecord]) -> Collection[str]:
        """The chooser of the first run: make images of its hosts, and let none of them stay."""
        self.results = {host.name: BakeResult(host=host) for host in hosts}
        with self.context.interruptible():
            self._bake(run)
        return ()

    def _bake(self, run: str) -> None:
        maker = self.context.maker_of(self.bench, self._pause)
        try:
            self._copy(run, maker)
            if self.candidates:
                self._prove(run)
            for name in self.candidates:
                self._publish(name, maker)
        except KeyboardInterrupt:
            self.stop.set()
            for name, result in self.results.items():
                self._note(name, why=result.why or ("" if result.image else "interrupted"))
            raise
        finally:
            self._drop(run, maker)

    def result(self, host: HostRecord) -> BakeResult:
        """The result for a host of the first run."""
        passed = host.verdict.outcome is Outcome.PASS
        unasked = BakeResult(host=host, why="interrupted" if passed else "its host did not pass")
        return replace(self.results.get(host.name, unasked), host=host)

    def _copy(self, run: str, maker: ImageMaker) -> None:
        """Make a candidate of each host, in parallel."""
        with ThreadPoolExecutor(len(self.results), thread_name_prefix="bake") as pool:
            making = [pool.submit(self._make, Token(run=run, host=name), maker) for name in self.results]
            try:
                wait(making)
            except KeyboardInterrupt:
                self.stop.set()
                raise
        for future in making:
            future.result()

    def _make(self, host: Token, maker: ImageMaker) -> None:
        step, ended = self.context.ledger.begin(host, Stage.BAKE), "our fault"
        tell = self._teller(host.host)
        try:
            tell("anonymising it: keys, logs, leases and the machine id go")
            self._anonymise(host)
            driver = driver_name(self.order.campaign)
            self.candidates[host.host] = maker.make(host, name=self.order.name, driver=driver, progress=tell)
            ended = "done"
        except Interrupted:
            ended = "interrupted"
        except HarnessError as error:
            ended = str(error)
        finally:
            self.context.ledger.end(step, ended)
        self._note(host.host, why="" if ended == "done" else ended)

    def _anonymise(self, host: Token) -> None:
        machine = kept_hosts.find_machine(host.run, host.host, self.bench, self.context.ledger)
        folder = EvidenceFolder.create(self.context.settings.runs_dir / host.run / host.host)
        known_hosts = ssh.pin(machine, folder.path)
        with ssh.shared_connection() as control:
            target = Target(machine=machine, known_hosts=known_hosts, control=control)
            done = proc.run(target.as_root("sh", "-s"), stdin=ANONYMISE.read_text(), timeout_s=_ANONYMISE_DEADLINE_S)
        folder.write("anonymise.log", printable(done.stdout + done.stderr))

    def _prove(self, run: str) -> None:
        """Qualify a host made from each candidate, in one run."""
        asked, image = self.order.campaign, f"baked:{self.order.name}@{run}"
        baked = [result for name, result in self.results.items() if name in self.candidates]
        campaign = replace(
            asked,
            cloud=replace(asked.cloud, image=image),
            instance_types=tuple(result.host.instance_type for result in baked),
            keep=Keep.NONE,
        )
        record = self.context.start(self.context.prepare(campaign))
        for result, proof in zip(baked, record.hosts, strict=True):
            passed = proof.verdict.outcome is Outcome.PASS
            why = "" if passed else f"a host made from it does not pass (run {record.run})"
            self._note(result.host.name, proof=proof, proof_run=record.run, why=why)
        if record.interrupted:
            raise KeyboardInterrupt

    def _publish(self, name: str, maker: ImageMaker) -> None:
        """Publish an image whose proof passed, then remove the older ones it replaces."""
        result, image = self.results[name], self.candidates[name]
        if result.proof is None or result.proof.verdict.outcome is not Outcome.PASS:
            return
        self._teller(name)(f"publishing {image.ident}")
        try:
            maker.publish(image, proof=result.proof_run)
        except BenchError as error:
            self._note(name, why=str(error))
            return
        self._note(name, image=replace(image, proof=result.proof_run))
        try:
            self._note(name, retired=tuple(old.ident for old in maker.retire(image, older=self.order.older)))
        except HarnessError as error:
            self._note(name, not_retired=str(error))

    def _drop(self, run: str, maker: ImageMaker) -> None:
        """Remove every candidate that is not published. The end of the run finds and names any that remain."""
        for name, result in self.results.items():
            if result.image is None:
                try:
                    maker.drop(Token(run=run, host=name))
                except Exception as error:  # the other hosts' candidates go all the same
                    self._note(name, why="; ".join(words for words in (result.why, str(error)) if words))

    def _note(self, name: str, **changes: Any) -> None:
        self.results[name] = replace(self.results[name], **changes)

    def _teller(self, name: str) -> Progress:
        def tell(words: str) -> None:
            if self.stop.is_set():
                raise Interrupted
            self.context.listener(name, Stage.BAKE, words)

        return tell

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Interrupted


def driver_name(campaign: Campaign) -> str:
    """The driver that an image carries, for its tag."""
    driver = campaign.driver
    if driver.source is DriverSource.ARCHIVE:
        return Path(driver.value or "").name
    return driver.value or driver.source.value
