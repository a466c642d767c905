"""Provide local virtual machines (the lab) as a source of hosts, by the interface harness.benches.bench.Bench."""

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any

from harness.benches.bench import BenchError, Check, InstanceType, Progress, ignore_progress
from harness.benches.lab import checks
from harness.benches.lab.guests import cloud_seed, cloud_start, guest, guest_disturbances, guest_slots, removal
from harness.benches.lab.guests.cloud_seed import CloudSeed
from harness.benches.lab.guests.cloud_start import CloudContext, CloudStart
from harness.benches.lab.guests.cold_start import ColdStart
from harness.benches.lab.guests.guest import GuestContext, GuestStart, Restoration
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.guests.memory_start import SnapshotRestoration
from harness.benches.lab.guests.snapshots import Snapshot, Snapshots
from harness.benches.lab.parts import acceleration, cache_build, disk_image, golden, qemu
from harness.benches.lab.parts.build_steps import BuildSteps
from harness.benches.lab.parts.golden import GoldenGuest
from harness.benches.lab.parts.qemu import Qemu
from harness.benches.lab.processes import confinement
from harness.benches.lab.truths.truth_model import Image, Truth
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import CommandError, RequestError, SetupError
from harness.host import keys
from harness.model import Claim, Machine, Offer, Placement, Resource, Token
from harness.model.disturbances import Disturbance
from harness.system.settings import Settings
from harness.untrusted.nearest import nearest_names

_OVERLAY_MIB = 512
_FOUNDATIONS = 3
"""Steps that prepare what all types need: QEMU, the guest image, and the choice between KVM and emulation."""
_READING_S = 0.0003
"""Duration of a reading of an emulated clock that chronyd accepts; half of it bounds the error of the reading."""


class LabBench:
    """The lab's bench. Hosts are restored from golden guests.

    A host is a folder of records, a QEMU process, an emulated ENA device and an NTP server.
    """

    name = "lab"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = settings.lab_parts_dir
        self.records = GuestRecords(settings.state_dir / "lab" / "hosts")
        self.snapshots = Snapshots(settings.state_dir / "lab" / "snapshots")

    def types(self) -> Mapping[str, InstanceType]:
        return {truth.name: InstanceType(name=truth.name, summary=truth.summary) for truth in TRUTHS.values()}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        return checks.run_checks(self._settings)

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        """Make the missing QEMU, disk images and golden guests of these types, two at a time, and number the steps.

        In a cache that cannot be written nothing is made. Raises PartMissingError, SetupError and CommandError.
        """
        try:
            self._prepare(types, progress)
        except cache_build.PartMissingError as error:
            raise cache_build.PartMissingError(error.message, next_step=_describe_build(types)) from error

    def _prepare(self, types: Sequence[str], progress: Progress) -> None:
        truths = [truth for truth in map(find_truth, types) if _fits_memory(truth)]
        images = sorted({truth.image for truth in truths} - {Image.LAB})
        golden_truths = list(
            {_golden_traits(truth): truth for truth in truths if not truth.image.by_cloud_init}.values()
        )
        self.require_tools()
        if message := confinement.unconfined_warning():
            progress(message)
        golden_truths.sort(key=lambda truth: truth.image is not Image.LAB)  # built beside the other types' guests
        steps = BuildSteps(progress, total=_FOUNDATIONS + len(images) + len(golden_truths))
        qemu_build, base, accelerator = self._ensure_foundations(steps)
        golden_guest = partial(self._ensure_golden, used=qemu_build, base=base, accelerator=accelerator, steps=steps)
        with ThreadPoolExecutor(max_workers=2) as pool:
            jobs: list[Future[Any]] = [pool.submit(self._ensure_image, image, steps) for image in images]
            jobs += [pool.submit(golden_guest, truth) for truth in golden_truths]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                while wait(jobs, timeout=0.2).not_done:
                    golden.stop_builds()
                raise
        if self._settings.lab_cache is None:
            self._prune(progress)
        elif os.access(self._cache, os.W_OK):
            cache_build.share(self._cache)

    def list_ready_types(self) -> list[str]:
        """List the types whose parts a cache has that cannot be written here: nothing is built."""
        ready = []
        for name in TRUTHS:
            try:
                self._prepare([name], ignore_progress)
            except cache_build.PartMissingError:
                continue
            ready.append(name)
        return ready

    def terms(self, types: Sequence[str]) -> None:
        """Return None: lab hosts cost nothing."""

    def provision(
        self, token: Token, instance_type: str, progress: Progress, *, seed: CloudSeed | None = None
    ) -> Machine:
        """Start a host. The `seed` is for a guest of a cloud's image only; without one it gets one of the lab's."""
        truth = find_truth(instance_type)
        record = self._find_or_clear(token)
        if record is not None:
            return make_machine(record, truth)
        guest_slots.require_memory(truth.memory_mib)
        if truth.image.by_cloud_init:
            context = self._cloud_context(truth, seed, progress)
            return self._bring_up(token, truth, lambda record: CloudStart(record, truth, context, progress))
        golden_context = self._restore_context(truth, progress)
        return self._bring_up(token, truth, lambda record: Restoration(record, truth, golden_context, progress))

    def restore(
        self, token: Token, snapshot: Snapshot, progress: Progress, *, seed: CloudSeed | None = None
    ) -> Machine:
        """Start a new host from the snapshot, with its memory or by a boot. Raises RequestError and BenchError."""
        truth = find_truth(snapshot.instance_type)
        guest_slots.require_memory(truth.memory_mib)
        with self.snapshots.in_use():
            if truth.image.by_cloud_init:
                cloud_context = self._cloud_context(truth, seed, progress, snapshot)
                return self._bring_up(token, truth, lambda record: CloudStart(record, truth, cloud_context, progress))
            qemu_build, _, accelerator = self._ensure_foundations(BuildSteps(progress))
            context = self._make_guest_context(qemu_build, snapshot.bootable(truth, accelerator))
            with_memory = snapshot.can_load_memory(truth, accelerator, qemu_build.version)
            if snapshot.machine is not None and not with_memory:
                progress("its memory was saved by another QEMU, processor or version: it boots from its disk")
            start = SnapshotRestoration if with_memory else ColdStart
            return self._bring_up(token, truth, lambda record: start(record, truth, context, progress))

    def find(self, token: Token) -> Machine | None:
        record = self.records.find(token)
        if record is None or not _is_running(record):
            return None
        return make_machine(record, find_truth(record.instance_type))

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        """Do nothing: guests are of this machine, and no other controller sees them."""

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        record = self.records.find(token)
        if record is None or not _is_running(record):
            raise BenchError(f"{token} does not run")
        guest_disturbances.disturb(record, disturbance, seconds, pause)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        removal.remove(self.records.folder(token))

    def resources(self) -> Sequence[Resource]:
        return removal.resources(self.records)

    def api_calls(self, token: Token | None = None) -> None:
        """Return None: no API is called."""

    # -- the parts of a host

    def _find_or_clear(self, token: Token) -> GuestRecord | None:
        """Return the record of this token's host when it runs; else remove the host's remains and return None."""
        record = self.records.find(token)
        if record is not None and _is_running(record):
            return record
        folder = self.records.folder(token)
        if removal.has_resources(folder):
            removal.remove(folder)
        return None

    def _bring_up(self, token: Token, truth: Truth, start: Callable[[GuestRecord], GuestStart]) -> Machine:
        cache_build.require_disk(cache_build.make_writable(self.records.root), _OVERLAY_MIB, "a lab host")
        record = self.records.begin(guest.new_record(token, truth, self.records.folder(token)))
        try:
            return make_machine(start(record).run(), truth)
        except CommandError as error:
            tail = _read_tail(record.folder / "qemu.log")
            raise BenchError(f"the guest did not come up: {error.message}{tail}", next_step=error.next_step) from error

    def _restore_context(self, truth: Truth, progress: Progress) -> GuestContext:
        steps = BuildSteps(progress)
        qemu_build, base, accelerator = self._ensure_foundations(steps)
        golden_guest = self._ensure_golden(truth, used=qemu_build, base=base, accelerator=accelerator, steps=steps)
        return self._make_guest_context(qemu_build, golden_guest)

    def _cloud_context(
        self, truth: Truth, seed: CloudSeed | None, progress: Progress, snapshot: Snapshot | None = None
    ) -> CloudContext:
        """Make what a cloud guest boots with, from its image or from a snapshot's disk."""
        steps = BuildSteps(progress)
        qemu_build, _, accelerator = self._ensure_foundations(steps)
        image = self._ensure_image(truth.image, steps)
        bootable = GoldenGuest(
            folder=image.folder,
            image=image,
            kernel=truth.kernel,
            accelerator=accelerator,
            memory_mib=truth.memory_mib,
            disk_name=image.disk.name,
        )
        return CloudContext(
            qemu=qemu_build,
            golden=snapshot.bootable(truth, accelerator) if snapshot else bootable,
            assets=self._settings.assets_dir,
            records=self.records,
            most_guests=self._settings.lab_guests,
            mirror=image.mirror,
            seed=seed,
        )

    def _make_guest_context(self, used: Qemu, saved: GoldenGuest) -> GuestContext:
        return GuestContext(
            qemu=used,
            golden=saved,
            assets=self._settings.assets_dir,
            records=self.records,
            most_guests=self._settings.lab_guests,
        )

    def _ensure_foundations(self, steps: BuildSteps) -> tuple[Qemu, disk_image.DiskImage, str]:
        """Make what all types need, in _FOUNDATIONS steps."""
        ensure_qemu = qemu.ensure if self._settings.lab_cache is None else qemu.ensure_private
        with steps.step("QEMU") as progress:
            qemu_build = ensure_qemu(self._cache, progress)
        with steps.step("guest image") as progress:
            base = disk_image.ensure(self._cache, self._settings.assets_dir, progress)
        with steps.step("choice between KVM and emulation") as progress:
            return qemu_build, base, acceleration.choose_accelerator(self._cache, qemu_build, base, progress)

    def _ensure_image(self, image: Image, steps: BuildSteps) -> disk_image.DiskImage:
        with steps.step(disk_image.RECIPES[image].description) as progress:
            return disk_image.ensure(self._cache, self._settings.assets_dir, progress, image)

    def _ensure_golden(
        self, truth: Truth, *, used: Qemu, base: disk_image.DiskImage, accelerator: str, steps: BuildSteps
    ) -> GoldenGuest:
        with steps.step("golden guest") as progress:
            if truth.image is not Image.LAB:
                base = disk_image.ensure(self._cache, self._settings.assets_dir, progress, truth.image)
            return golden.ensure(
                self._cache,
                used,
                base,
                truth.kernel,
                accelerator=accelerator,
                memory_mib=truth.memory_mib,
                progress=progress,
            )

    def _prune(self, progress: Progress) -> None:
        """Remove builds of this machine's cache unused for days. Nothing is removed while a guest may need them."""
        if guest_slots.running_guests():
            return
        for pattern in cache_build.COMPLETE:
            for folder in cache_build.prune(self._cache, pattern, time.time()):
                progress(f"removed {folder.name} from the cache: not used for days")

    def require_tools(self) -> None:
        """Raise SetupError that names the package of the first tool that is missing.

        A shared cache may be complete without the tools that build parts.
        """
        needed = checks.TOOLS if self._settings.lab_cache is None else checks.RUN_TOOLS
        for tool, package in needed.items():
            if checks.find_tool(tool) is None:
                raise SetupError(f"{tool} is not installed", next_step=f"apt-get install {package}")


def find_truth(instance_type: str) -> Truth:
    """Return the truth of a lab type. Raises RequestError with the nearest names when there is no such type."""
    if instance_type in TRUTHS:
        return TRUTHS[instance_type]
    near = nearest_names(instance_type, TRUTHS) or list(TRUTHS)
    raise RequestError(f"the lab has no type {instance_type!r}", next_step=f"nearest names: {', '.join(near)}")


def _describe_build(types: Sequence[str]) -> str:
    """Describe how a cache that cannot be written here is filled for this machine."""
    command = f"`ptp-harness lab build {' '.join(sorted({*types}))}`"
    return (
        f"{command} fills it where it can be written, as the folder PTP_HARNESS_LAB_CACHE, "
        f"on a machine with the processor {golden.processor_name()!r}"
    )


def make_machine(record: GuestRecord, truth: Truth) -> Machine:
    """Describe a running host for its users. Raises BenchError when its record has no address."""
    if record.address is None or record.port is None:
        raise BenchError(f"{record.token} has no address")
    return Machine(
        token=record.token,
        instance_type=truth.name,
        address=record.address,
        port=record.port,
        user=cloud_seed.LOGIN_USER if truth.image.by_cloud_init else "root",
        boots_within_s=cloud_start.BOOTS_WITHIN_S if truth.image.by_cloud_init else 0.0,
        private_key=str(record.private_key),
        known_host=keys.known_hosts_line(record.address, record.port, keys.read_public_key(record.host_key)),
        second_opinion=record.second_opinion,
        second_opinion_poll=1,
        placement=Placement(precise=True, detail="lab: the emulated host gives the precision service"),
        claim=Claim(
            phc_supported=truth.phc_supported,
            source="lab",
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        ),
        offer=Offer(available=True, where="lab"),
        evidence_files=_list_evidence_files(record),
        role_variables={"ena_driver_reboot": True, "chrony_phc_delay_s": _READING_S},
        detail=truth.summary,
    )


def _list_evidence_files(record: GuestRecord) -> tuple[str, ...]:
    logs = (record.serial_log, record.device_log, record.other_device_log, record.cloud_log, record.faults_log)
    return tuple(str(log) for log in logs if log.exists())


def _golden_traits(truth: Truth) -> tuple[object, ...]:
    """Return what distinguishes the golden guests of types."""
    return truth.image, truth.kernel, truth.memory_mib


def _is_running(record: GuestRecord) -> bool:
    return record.ready and record.processes["guest"].alive()


def _fits_memory(truth: Truth) -> bool:
    try:
        guest_slots.require_memory(truth.memory_mib)
    except BenchError:
        return False
    return True


def _read_tail(log: Path) -> str:
    text = log.read_text(errors="replace").strip()[-300:] if log.exists() else ""
    return f"; QEMU says {text!r}" if text else ""
