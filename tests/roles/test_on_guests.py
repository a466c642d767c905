"""Do the roles do on real guests, with the real drivers, what they say they do?

One guest per test: a test reads as the story of one host. Seconds are not asserted, since colleagues' work on the same
machine doubles them: benchmarks/configure.py prints them.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ena_device.control import ask

from harness import wiring
from harness.host import ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, play
from harness.model import Capture, DriverWord, Facts, Token
from harness.probes import facts, samples
from harness.system import proc, settings

pytestmark = [pytest.mark.roles, pytest.mark.timeout(1500)]

WITH_TRUTHS, WITH_LAB = pytest.mark.xdist_group("quiet"), pytest.mark.xdist_group("guests")  # so that both take as long

ROOT = Path(__file__).parents[2]
SAMPLES = "/run/samples.jsonl.gz"
PRINT_SAMPLES = f"zcat {SAMPLES} 2>/dev/null || true"
IDENTITY = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ls /sys/class/net"
REFUSAL = "Error: ena: Device doesn't support PHC."
FOLLOW = "Let chrony follow the clock"
CHRONY_RECORD = "/var/lib/ptp-harness/chrony_phc.json"
PLACES = ("/etc", "/usr/local", "/var/lib/ptp-harness")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A lab guest and the ways to work on it."""

    target: Target
    control: Path  # its ENA card's control socket

    def run(self, command: str) -> str:
        """What a shell on the host prints; fails the test unless it ends with status 0."""
        return proc.run(self.target.command("sh", "-c", command), timeout_s=120).stdout

    def play(self, name: str, variables: Mapping[str, Any] | None = None) -> PlayResult:
        """A play that must succeed."""
        address, _, port = (self.target.machine.second_opinion or "").partition(" ")
        mine = {"chrony_phc_second_opinion_address": address, "chrony_phc_second_opinion_port": int(port)}
        played = play(
            ROOT / "playbooks" / name,
            self.target,
            mine | dict(variables or {}),
            timeout_s=600,
            progress=str,
            cancelled=bool,
        )
        assert played.outcome is PlayOutcome.OK, f"{played.message}\n{played.stdout}"
        print(f"{name}: {played.seconds:.1f} s, {played.tasks_on_wire} tasks on the wire, {played.changed} changed")
        return played

    def configure(self) -> tuple[PlayResult, Facts]:
        played = self.play("configure.yml")
        assert played.tasks_on_wire <= 25
        return played, understood(played)

    def configure_again(self) -> Facts:
        """Configure a configured host: nothing changes.

        Except when a busy machine misled chronyd: then its being started again, and nothing else, is a change.
        """
        for _ in range(3):
            files = self.files()
            played, found = self.configure()
            changed = {line.split()[0] for line in set(self.files().splitlines()) ^ set(files.splitlines())}
            if not played.changed:
                assert changed == set()
                return found
            assert (played.changed, played.results[FOLLOW]["written"]) == (1, [CHRONY_RECORD])
            assert (played.results[FOLLOW]["stopped"], found.chronyd_starts in (2, 3), changed) == (
                [],
                True,
                {CHRONY_RECORD},
            )
        raise AssertionError("chronyd is misled again and again")

    def files(self) -> str:
        """Names, sizes and times of all that the roles may touch."""
        return self.run(f"find {' '.join(PLACES)} -type f -printf '%p %s %T@\\n' 2>/dev/null | sort; true")

    def reboot(self) -> None:
        """Reboot, and wait until SSH answers from the next boot: the same host, with the right time."""
        before, identity = self.run("cat /proc/sys/kernel/random/boot_id"), self.run(IDENTITY)
        proc.run(self.target.command("systemctl", "reboot"), timeout_s=60, check=False)
        self.cut()
        give_up = time.monotonic() + 300
        while time.monotonic() < give_up:
            try:
                if self.run("cat /proc/sys/kernel/random/boot_id") != before:
                    break
            except Exception:  # SSH may fail in any way while a host reboots
                time.sleep(2)
        else:
            raise AssertionError("the guest did not come back from its reboot within 300 s")
        assert self.run(IDENTITY) == identity
        assert abs(float(self.run("date +%s.%N")) - time.time()) < 5

    def cut(self) -> None:
        """Kill the shared connection, as when the network between us goes away."""
        check = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={self.target.control}", "-O", "check", "none"]
        said = subprocess.run(check, capture_output=True, text=True, check=False).stderr  # "Master running (pid=123)"
        if "pid=" in said:
            os.kill(int(said.partition("pid=")[2].partition(")")[0]), signal.SIGKILL)
        self.target.control.unlink(missing_ok=True)


def understood(played: PlayResult) -> Facts:
    """The facts that the play collected; every line must have been understood."""
    found, unparsed = facts.read_facts(collected(played), where="facts.json")
    assert unparsed == ()
    return found


def collected(played: PlayResult) -> str:
    return str(played.results["Collect clock facts"]["stdout"])


def capture(played: PlayResult, name: str) -> Capture:
    said = json.loads(collected(played))["captures"][name]
    return Capture(command=said["command"], rc=said["rc"], out=said["out"], err=said["err"])


def driver_record(played: PlayResult) -> dict[str, Any]:
    return dict(json.loads(capture(played, "driver-word").out))


def wait_until(seen: Callable[[], bool], within_s: float, what: str) -> None:
    give_up = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < give_up, f"not within {within_s:g} s: {what}"
        time.sleep(1)


@pytest.fixture
def bring_up(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """Make a guest of a lab type; it is gone after the test."""
    state = settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")})
    bench = wiring.lab_bench(state)
    with ExitStack() as cleanup:

        def make(instance_type: str) -> Host:
            bench.prepare([instance_type], print)
            token = Token(run="roles", host=instance_type)
            cleanup.callback(bench.release, token)
            machine = bench.provision(token, instance_type, print)
            control = cleanup.enter_context(ssh.shared_connection())
            [record] = [one for one in bench.records.all() if one.token == token]
            host = Host(
                target=Target(machine=machine, known_hosts=ssh.write_known_hosts(machine, tmp_path), control=control),
                control=record.sockets / "control",
            )
            reached = ssh.wait_for_login(machine, host.target.known_hosts, tries=5, first_backoff_s=1, progress=print)
            assert reached.reached, reached.detail
            return host

        yield make


def follows_the_clock(found: Facts) -> bool:
    """chrony has selected PHC0 and keeps the second opinion without following it; else prints what chrony says."""
    states = {source.name: (source.mode, source.state) for source in found.sources or ()}
    others = [state for name, state in states.items() if name != "PHC0"]
    follows = states.get("PHC0") == ("#", "*") and others == [("^", "?")]
    if not follows:
        print(found.tracking, *(found.sources or ()), found.chronyd_starts, found.why_not_converged, sep="\n")
    return follows


@WITH_TRUTHS
@pytest.mark.truth
def test_a_clock_that_is_off_is_switched_on_and_stays_on(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.driver-off")
    assert host.run("ls /sys/class/ptp") == ""

    first, found = host.configure()
    record = driver_record(first)
    assert (record["decision"], record["clock"], record["remedy"]) == ("devlink", "ptp0", None)
    assert found.driver_word is DriverWord.ACTIVE
    assert [clock.device for clock in found.clocks or ()] == ["ptp0"]
    assert found.phc_link == "ptp0"
    assert (found.converged, found.competitors) == (True, ())
    assert follows_the_clock(found)
    assert host.run("cat /proc/dynamic_debug/control | grep -c '\\[ena\\].*=p' ; true") == "0\n"

    assert follows_the_clock(host.configure_again())

    host.reboot()
    wait_until(lambda: "#* PHC0" in host.run("chronyc -n sources; true"), 120, "PHC0 selected after the reboot")
    assert host.run("readlink /dev/ptp_ena") == "ptp0\n"
    third, found = host.configure()
    assert third.changed == 1  # the record of how long chrony took belongs to the last boot
    assert driver_record(third)["boot_id"] == found.boot_id
    assert (driver_record(third)["decision"], found.driver_word) == ("devlink", DriverWord.ACTIVE)
    host.configure_again()


@WITH_TRUTHS
def test_the_sampler_survives_a_cut_connection(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.phc")
    _, found = host.configure()
    assert follows_the_clock(found)
    variables = {"clock_facts_duration_s": 15, "clock_facts_wait": False, "clock_facts_samples_path": SAMPLES}
    begun = time.monotonic()
    host.play("measure.yml", variables)
    host.cut()
    wait_until(lambda: '"kind": "end"' in host.run(PRINT_SAMPLES), 60, "the sampler's closing line")
    assert time.monotonic() - begun > 14
    taken, unparsed, slots = samples.read_samples(host.run(PRINT_SAMPLES), where="samples.jsonl")
    assert (unparsed, slots is None) == ((), False)
    assert len(taken) >= 13
    for sample in taken:
        assert sample.reads is not None
        assert sample.tracking is not None
        assert sample.counters is not None
        assert (len(sample.reads), sample.read_errors) == (5, 0)
        assert sample.tracking.reference == "PHC0"
    # All readers together stay within the clock's 125 readings a second.
    first, last = taken[0], taken[-1]
    assert first.counters is not None
    assert last.counters is not None
    per_s = (last.counters.cnt - first.counters.cnt) / ((last.mono_ns - first.mono_ns) / 1e9)
    assert 25 < per_s < 40


@pytest.mark.truth
@WITH_LAB
def test_a_sampler_that_persists_goes_on_after_a_reboot_and_leaves_nothing(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.phc")
    host.configure()
    path = "/var/lib/ptp-harness/watched.jsonl.gz"
    files = "find /etc/systemd/system /var/lib/ptp-harness | sort"
    before = host.run(files)
    variables = {
        "clock_facts_duration_s": 900,
        "clock_facts_reads": 10,
        "clock_facts_persist": True,
        "clock_facts_wait": False,
        "clock_facts_samples_path": path,
    }
    host.play("measure.yml", variables)
    time.sleep(8)
    host.reboot()
    wait_until(lambda: host.run(f"ls {path}.1 2>/dev/null || true") != "", 120, "the samples of the next boot")
    time.sleep(10)
    host.play("measure.yml", variables | {"clock_facts_mode": "stop"})
    lines = host.run(f"zcat {path} {path}.1")
    taken, unparsed, slots = samples.read_samples(lines, where="samples.jsonl")
    assert unparsed == ()
    assert slots == taken[-1].slot + 1
    assert {sample.boot for sample in taken} == {0, 1}
    first, last = ([sample for sample in taken if sample.boot == boot] for boot in (0, 1))
    assert len(first) >= 5
    assert len(last) >= 5
    assert last[0].slot - first[-1].slot > 5, "while it booted nobody sampled"
    apart_s = (last[0].utc_ns - first[-1].utc_ns) / 1e9
    assert abs(apart_s - (last[0].slot - first[-1].slot)) < 2
    assert {len(sample.reads or ()) for sample in first} == {10}
    assert '"kind": "pause"' in lines, "the machine ended the first sampler, which has not ended sampling"
    left = set(host.run(files).splitlines()) - set(before.splitlines())
    assert left == {path, f"{path}.1"}, "its unit and its program are gone"


@pytest.mark.truth
@WITH_TRUTHS
def test_a_clock_made_anew_is_followed(bring_up: Callable[[str], Host]) -> None:
    """A driver that is reloaded while chronyd and the sampler hold its clock gives it back under another number."""
    host = bring_up("lab.phc")
    host.configure()
    variables = {"clock_facts_duration_s": 600, "clock_facts_wait": False, "clock_facts_samples_path": SAMPLES}
    host.play("measure.yml", variables)
    host.run("sleep 3; devlink dev reload pci/$(basename $(readlink -f /sys/class/ptp/ptp0/device)); sleep 8")
    host.play("measure.yml", variables | {"clock_facts_mode": "stop"})
    written = host.run(PRINT_SAMPLES)
    taken, _, slots = samples.read_samples(written, where="samples.jsonl")
    assert slots is not None
    assert len(taken[0].reads or ()) == len(taken[-1].reads or ()) == 5
    clocks = [json.loads(line)["phc"].get("device") for line in written.splitlines() if '"kind": "sample"' in line]
    assert (clocks[0], clocks[-1]) == ("ptp0", "ptp1")

    # chronyd keeps the clock that is gone, until the role restarts it.
    played, found = host.configure()
    assert played.results[FOLLOW]["restarted"] is True
    assert found.phc_link == "ptp1"
    assert follows_the_clock(found)


@WITH_TRUTHS
def test_a_chronyd_that_drops_the_readings_is_started_again(bring_up: Callable[[str], Host]) -> None:
    """chronyd takes only readings as fast as those that it began with (docs/lab.md); here all become slower."""
    host = bring_up("lab.phc")
    ask(str(host.control), spread_us=0)
    host.configure()
    # All readings end later than any that a busy machine has delayed so far, and their middle stays right.
    ask(str(host.control), busy_us=3000, step_ns=1_500_000)
    wait_until(lambda: polls_with_sample(host) < 3, 180, "chronyd drops the readings")
    ask(str(host.control), spread_us=200)  # as in the lab: a chronyd that starts now begins with slow and fast ones

    played, found = host.configure()
    assert (played.results[FOLLOW]["restarted"], found.chronyd_starts in (2, 3)) == (True, True)
    assert follows_the_clock(found)


def polls_with_sample(host: Host) -> int:
    """In how many of its last eight polls of PHC0 chronyd has had a sample."""
    return int(clock_source(host)[5], 8).bit_count()


def clock_source(host: Host) -> list[str]:
    """chronyd's line on PHC0, as `chronyc -c sources` has it."""
    return next(line.split(",") for line in host.run("chronyc -n -c sources").splitlines() if line[0] == "#")


@pytest.mark.truth
@WITH_TRUTHS
def test_another_daemon_is_stopped_and_a_stray_one_is_seen(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.phc")
    unit = "/etc/systemd/system/phc2sys-lab.service"
    steer = "phc2sys -s /dev/ptp0 -c CLOCK_REALTIME -O 0 -R 1"
    host.run(f"printf '[Service]\\nExecStart=/usr/sbin/{steer}\\n[Install]\\nWantedBy=multi-user.target\\n' > {unit}")
    host.run("systemctl daemon-reload; systemctl enable --now phc2sys-lab.service 2>&1")
    observed = understood(host.play("observe.yml"))
    assert observed.competitors == ("phc2sys-lab",)

    played, found = host.configure()
    assert found.competitors == ()
    assert [result["stopped"] for result in played.results.values() if result.get("stopped")] == [
        ["phc2sys-lab.service"]
    ]
    assert host.run("systemctl is-active phc2sys-lab.service; systemctl is-enabled phc2sys-lab.service; true") == (
        "inactive\ndisabled\n"
    )

    host.run(f"setsid {steer} >/dev/null 2>&1 </dev/null &")
    stray = understood(host.play("observe.yml")).competitors
    assert stray is not None
    assert [name.partition("[")[0] for name in stray] == ["phc2sys"]


@pytest.mark.truth
@WITH_TRUTHS
def test_a_device_without_a_clock_says_so_itself(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.no-phc")
    time_service = "systemctl is-active chrony; systemctl is-enabled chrony; md5sum /etc/chrony/chrony.conf; true"
    before = host.run(time_service)

    first, found = host.configure()
    record = driver_record(first)
    assert (record["decision"], record["clock"]) == ("devlink", None)
    assert [(a["rc"], a["err"]) for a in record["attempts"]][1:] == [
        (1, f"{REFUSAL}\nkernel answers: Operation not supported\n")
    ]
    assert record["remedy"] == (
        "the device has no PHC feature: choose another instance type, or a placement that gives this one a clock"
    )
    assert (found.driver_word, found.driver_word_text) == (DriverWord.NOT_SUPPORTED_BY_DEVICE, REFUSAL)
    assert json.loads(capture(first, "chrony-phc").out)["waited"] is False
    assert host.run(time_service) == before

    found = host.configure_again()
    assert found.driver_word is DriverWord.NOT_SUPPORTED_BY_DEVICE

    host.reboot()  # the unit asks again at each boot, and must not hang the host
    wait_until(lambda: host.run("systemctl is-system-running; true") != "starting\n", 120, "the boot's end")
    third, found = host.configure()
    assert found.driver_word is DriverWord.NOT_SUPPORTED_BY_DEVICE
    assert driver_record(third)["boot_id"] == found.boot_id


@WITH_TRUTHS
def test_an_old_driver_is_not_capable_and_the_remedy_says_what_would_be(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.old-driver")
    before = host.files()
    first, found = host.configure()
    record = driver_record(first)
    assert (record["decision"], record["clock"], record["attempts"]) == ("not_capable", None, [])
    assert record["remedy"] == (
        f"the ena driver of kernel {found.kernel} has neither the parameter phc_enable nor devlink's enable_phc: "
        "boot a kernel >= 6.17 (such as the one in the distribution's backports) or install Amazon's ena release "
        ">= 2.10 built with ENA_PHC_INCLUDE=1"
    )
    assert found.driver_word is None
    new = set(host.files().splitlines()) - set(before.splitlines())
    assert sorted(line.split()[0] for line in new) == [
        f"/var/lib/ptp-harness/{name}.json" for name in ("chrony_phc", "ena_driver", "linuxptp")
    ]
    assert host.configure()[0].changed == 0


@WITH_LAB
def test_check_mode_changes_nothing(bring_up: Callable[[str], Host], tmp_path: Path) -> None:
    host = bring_up("lab.driver-off")
    before = host.files()
    played = host.play(str(in_check_mode("configure.yml", tmp_path / "checking")))
    assert played.changed > 0
    assert host.files() == before
    assert host.run("ls /sys/class/ptp") == ""


def in_check_mode(name: str, folder: Path) -> Path:
    """A copy of a playbook whose every task only says what it would change."""
    shutil.copytree(ROOT / "playbooks", folder / "playbooks")
    (folder / "ansible.cfg").write_text((ROOT / "ansible.cfg").read_text().replace("= roles\n", f"= {ROOT}/roles\n"))
    copy = folder / "playbooks" / name
    text = (ROOT / "playbooks" / name).read_text()
    assert "  gather_facts: false\n" in text
    copy.write_text(text.replace("  gather_facts: false\n", "  gather_facts: false\n  check_mode: true\n"))
    return copy


@WITH_LAB
def test_a_card_that_carries_the_connection_is_reloaded_apart_from_it(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.driver-off")
    card = host.run("basename /sys/bus/pci/drivers/ena/*/net/*").strip()
    host.run(f"ip address add 192.0.2.1/24 dev {card}")
    played, found = host.configure()
    assert played.results["Enable the PTP clock"]["pending"] is True
    record = driver_record(played)
    assert (record["decision"], record["clock"]) == ("devlink", "ptp0")
    assert found.phc_link == "ptp0"
    assert follows_the_clock(found)
    host.configure_again()
