"""What can be baked, what an image is called, and what anonymising takes from a disk."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.benches.bench import Progress
from harness.campaign import campaign
from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.model import HostState, Outcome, Reason, RunRecord, Stage, Token
from harness.model.cloud import BakedImage, TypeInfo
from harness.model.ec2_enums import Architecture
from harness.runs import bake, qualification
from harness.runs.bake import BakeRequest
from harness.runs.context import RunControls
from harness.runs.prepare import Benches
from tests.unit.runs.test_campaign_run import Lab, lab

__all__ = ["lab"]  # a fixture


def kind(name: str, architecture: Architecture = Architecture.X86_64, **changes: Any) -> TypeInfo:
    family, _, size = name.partition(".")
    known = {
        "name": name,
        "family": family,
        "size": size,
        "architecture": architecture,
        "vcpus": 2,
        "memory_mib": 8192,
        "phc": True,
        "ena": "required",
        "zones": ("eu-north-1a",),
        "price_per_hour_usd": None,
        "bare_metal": False,
        "current_generation": True,
    }
    return TypeInfo(**(known | changes))


TYPES = {
    one.name: one
    for one in (
        kind("m7i.xlarge", vcpus=4),
        kind("m7i.large"),
        kind("c7i.large", memory_mib=4096, phc=None),
        kind("m6i.large", memory_mib=2048, current_generation=False),
        kind("m7g.large", Architecture.ARM64),
        kind("m7g.medium", Architecture.ARM64, vcpus=1, phc=False),
    )
}


def asked(*types: str, **words: Any) -> Campaign:
    return campaign.from_mapping({"bench": "ec2", "instance_types": types or ("m7i.large",), **words})


def refusal(name: str = "al2023", *types: str, **words: Any) -> str:
    with pytest.raises(RequestError) as caught:
        bake.check_request(BakeRequest(campaign=asked(*types, **words), name=name, older=1), TYPES)
    return str(caught.value)


def test_by_default_the_smallest_with_a_clock_of_each_architecture_is_baked_on() -> None:
    assert bake.smallest_with_clock(TYPES) == ("m7i.large", "m7g.large")
    assert bake.smallest_with_clock({"m7g.large": TYPES["m7g.large"]}) == ("m7g.large",)
    with pytest.raises(RequestError, match="clock of no type"):
        bake.smallest_with_clock({"c7i.large": TYPES["c7i.large"]})


def test_an_image_keeps_the_name_of_what_it_was_made_of() -> None:
    assert bake.default_name(asked(image="debian-13")) == "debian-13"
    assert bake.default_name(asked(image="baked:debian-13")) == "debian-13"
    assert bake.default_name(asked(image="baked:debian-13@k3f9")) == "debian-13"


def test_what_cannot_be_baked_is_refused_before_anything_is_made() -> None:
    bake.check_request(BakeRequest(campaign=asked("m7i.large", "m7g.large"), name="al2023-ena-2.17", older=0), TYPES)
    assert "m7i.large and m7i.xlarge are all x86_64" in refusal("al2023", "m7i.large", "m7i.xlarge")
    assert "m7i.large and m7i.large are all x86_64" in refusal("al2023", "m7i.large", "m7i.large")
    assert "changes nothing on its hosts" in refusal(read_only=True)
    assert "spot instance cannot be stopped" in refusal(ec2={"market": "spot"})
    for name in ("", "Über", "a b", "-x", "x" * 64, "baked:x", "x@y"):
        assert f"{name!r} cannot name an image" in refusal(name)


def test_the_tag_says_which_driver_the_image_has() -> None:
    assert bake.driver_name(asked()) == "distribution"
    assert bake.driver_name(asked(driver={"release": "2.17.0"})) == "2.17.0"
    there = asked()
    archive = replace(there.driver, source=campaign.DriverSource.ARCHIVE, value="/home/me/ena-2.17.0.tar.gz")
    assert bake.driver_name(replace(there, driver=archive)) == "ena-2.17.0.tar.gz"


KEPT = {
    "etc/chrony/chrony.conf": "refclock PHC /dev/ptp_ena\n",
    "etc/modprobe.d/ptp-harness-ena.conf": "options ena phc_enable=1\n",
    "etc/udev/rules.d/53-ptp-ena.rules": "rules\n",
    "etc/ssh/sshd_config": "config\n",
    "var/lib/ptp-harness/ena_build.json": "{}\n",
    "usr/local/lib/ptp-harness/ena_phc.py": "script\n",
    "home/admin/.profile": "profile\n",
    "home/admin/.ssh/config": "config\n",
}
GONE = (
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "root/.ssh/authorized_keys",
    "home/admin/.ssh/authorized_keys",
    "home/admin/.ansible/tmp/x",
    "home/admin/.bash_history",
    "var/lib/dbus/machine-id",
    "var/lib/ptp-harness/lease-end",
    "var/lib/ptp-harness/chrony_phc.json",
    "var/lib/ptp-harness/ena_driver.json",
    "var/lib/chrony/chrony.drift",
    "var/log/chrony/tracking.log",
    "var/log/journal/0123/system.journal",
    "var/lib/dhcp/dhclient.leases",
    "var/lib/systemd/random-seed",
)
EMPTY = ("etc/machine-id", "var/log/syslog", "var/log/apt/history.log")


def test_anonymising_takes_what_is_one_host_s_and_leaves_what_was_configured(tmp_path: Path) -> None:
    for name in (*KEPT, *GONE, *EMPTY):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(KEPT.get(name, "of this host\n"))
    for _ in range(2):  # an image may be baked again
        subprocess.run(["sh", str(bake.ANONYMISE), str(tmp_path)], check=True, timeout=60)
        left = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
        assert left == KEPT | dict.fromkeys(EMPTY, "")


def test_anonymising_a_disk_that_has_none_of_it_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "var/log").mkdir(parents=True)
    subprocess.run(["sh", str(bake.ANONYMISE), str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "etc/machine-id").read_text() == ""


# --- the steps after the verdicts -----------------------------------------------------------------------------------


class ImageShelf:
    """Makes images without a cloud, and remembers which exist. `on_make` is called while one is made."""

    def __init__(self) -> None:
        self.candidates: set[str] = set()
        self.published: set[str] = set()
        self.on_make: Callable[[], None] = lambda: None
        self.pause: Callable[[float], None] = lambda _seconds: None

    def make(self, host: Token, *, name: str, driver: str, progress: Progress) -> BakedImage:
        self.candidates.add(host.host)
        self.on_make()
        self.pause(0.0)
        progress("copying")
        return replace(IMAGE, name=name, ident=f"ami-{host.host}")

    def publish(self, image: BakedImage, *, proof: str) -> None:
        self.published.add(image.ident)
        self.candidates.discard(image.ident.removeprefix("ami-"))

    def retire(self, image: BakedImage, *, older: int) -> Sequence[BakedImage]:
        return ()

    def drop(self, host: Token) -> None:
        self.candidates.discard(host.host)


IMAGE = BakedImage(
    ident="ami-0",
    name="",
    architecture="x86_64",
    user="admin",
    base="debian-13",
    driver="distribution",
    run="",
    proof=None,
    created="2026-11-28T10:00:00",
    state="available",
    snapshots=(),
    signed=True,
)


@dataclass
class Baking:
    """A bake on the scripted bench, whose hosts all pass and are anonymised without a connection."""

    lab: Lab
    shelf: ImageShelf
    controls: RunControls

    def bake(self, *types: str) -> tuple[RunRecord, Sequence[bake.BakeResult]]:
        def make_image_maker(_bench: object, pause: Callable[[float], None]) -> ImageShelf:
            self.shelf.pause = pause
            return self.shelf

        context = bake.BakeContext(
            benches=Benches(make_bench=lambda _campaign: self.lab.bench, resolve_types=lambda types, _: types),
            make_image_maker=make_image_maker,
            ledger=self.lab.ledger,
            settings=self.lab.settings,
            controls=self.controls,
        )
        requested = campaign.from_mapping({"instance_types": types, "keep": "supported"})
        return bake.bake(BakeRequest(campaign=requested, name="debian-13", older=1), context)


@pytest.fixture
def baking(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Baking:
    def observe(self: qualification.Qualification, _cleanup: object) -> None:
        self.provision()

    def judge_at(self: qualification.Qualification, _depth: object) -> Any:
        if self.host.instance_type != "good":
            return self.make_unjudged_verdict()
        return replace(self.make_unjudged_verdict(), outcome=Outcome.PASS, reason=Reason.SYNCHRONISED)

    monkeypatch.setattr(qualification.Qualification, "observe", observe)
    monkeypatch.setattr(qualification.Qualification, "judge_at", judge_at)
    monkeypatch.setattr(bake, "anonymise", lambda *_parts: None)
    return Baking(lab, ImageShelf(), lab.controls())


def test_a_host_that_passed_is_copied_proven_published_and_released(baking: Baking) -> None:
    record, (good, silent) = baking.bake("good", "silent")
    assert (baking.shelf.published, baking.shelf.candidates) == ({"ami-good"}, set())
    assert (good.image and good.image.ident, good.why, good.outcome) == ("ami-good", "", Outcome.PASS)
    assert good.proof is not None
    assert (silent.image, silent.why) == (None, "its host did not pass")
    assert [host.state for host in record.hosts] == [HostState.RELEASED] * 2, "whatever the campaign keeps"
    assert (baking.lab.bench.running, record.interrupted, record.failures) == (set(), False, ())
    assert baking.lab.ledger.record(record.run) == record
    proofs = [line.run for line in baking.lab.ledger.runs() if line.run != record.run]
    assert proofs == [good.proof_run]
    assert [step.stage for step in baking.lab.ledger.steps(record.run)].count(Stage.BAKE) == 1


def test_asked_to_stop_while_a_copy_is_made_nothing_is_left(baking: Baking) -> None:
    baking.shelf.on_make = baking.controls.stop.set
    record, [result] = baking.bake("good")
    assert (result.image, result.why, result.outcome) == (None, "interrupted", Outcome.INCONCLUSIVE)
    assert (baking.shelf.published, baking.shelf.candidates, baking.lab.bench.running) == (set(), set(), set())
    assert (record.interrupted, baking.lab.ledger.record(record.run)) == (True, record)


def test_a_fault_of_ours_while_a_copy_is_made_costs_neither_the_release_nor_the_report(baking: Baking) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    baking.shelf.on_make = fail
    record, [result] = baking.bake("good")
    assert (result.image, result.why) == (None, "our fault")
    assert record.failures == ("baking images: ZeroDivisionError: a bug",)
    assert (baking.shelf.candidates, baking.lab.bench.running) == (set(), set())
    assert baking.lab.ledger.record(record.run) == record


def test_a_run_of_which_no_host_passes_makes_no_image(baking: Baking) -> None:
    _, results = baking.bake("silent")
    assert [(result.image, result.why) for result in results] == [(None, "its host did not pass")]
    assert len(baking.lab.ledger.runs()) == 1
    assert baking.lab.bench.running == set()
