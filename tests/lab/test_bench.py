"""Lab hosts are what they say they are: real guests, with an identity, a card and a second opinion of their own."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.benches.lab.bench import LabBench
from harness.benches.lab.processes import process_tags
from harness.host import ssh
from harness.model import Claim, Token
from harness.system import proc

from .conftest import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

Provision = Callable[[str, str], Host]
WHO = "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1; cat /etc/ssh/ssh_host_ed25519_key.pub"
ASK_NTP = """
import socket, struct, sys, time
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(10)
sent = time.time()
asker.sendto(struct.pack("!B47x", 0x23), (sys.argv[1], int(sys.argv[2])))
seconds = struct.unpack("!I", asker.recv(100)[40:44])[0] - 2208988800
print(abs(seconds - sent) < 3)
"""


def test_two_at_once_differ_in_all_that_tells_machines_apart(provision: Provision, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda name: provision(name, "lab.driver-off"), ("one", "two"))
    firsts, seconds = first.run(WHO).splitlines(), second.run(WHO).splitlines()
    assert [firsts[0], seconds[0]] == ["test-one-1", "test-two-1"]
    assert [mine == theirs for mine, theirs in zip(firsts, seconds, strict=True)] == [False] * 4
    for host, words in ((first, firsts), (second, seconds)):
        assert words[3].split()[:2] == host.machine.known_host.split()[1:]  # the very key that was pinned beforehand
        assert abs(float(host.run("date +%s.%N")) - time.time()) < 5
        assert host.machine.address.startswith("127.0.")
    assert first.machine.address != second.machine.address
    macs = {host.run("cat /sys/class/net/enp2s0/address") for host in (first, second)}
    assert len(macs) == 2


def test_a_host_is_trusted_by_its_own_key_only(provision: Provision, tmp_path: Path) -> None:
    host = provision("a", "lab.driver-off")
    assert host.answers()
    proc.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], timeout_s=30)
    name = host.machine.known_host.split()[0]
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    host.known_hosts.write_text(f"{name} {other}\n")
    refused = proc.run(ssh.build_command(host.machine, host.known_hosts, "true"), timeout_s=60, check=False)
    assert refused.status == 255
    assert "Host key verification failed" in refused.stderr


def test_a_host_has_its_card_its_clock_and_a_second_opinion(provision: Provision, bench: LabBench) -> None:
    host = provision("a", "lab.phc")
    assert host.run("cat /sys/class/ptp/ptp0/clock_name").startswith("ena-ptp-")
    assert host.run("cat /sys/class/net/management/operstate /sys/class/net/enp2s0/operstate").split() == ["up", "up"]
    assert host.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") in ("tsc", "kvm-clock")
    assert host.run("ip", "route") == "10.0.2.0/24 dev management proto kernel scope link src 10.0.2.15"  # no way out
    assert host.machine.second_opinion is not None
    quoted = "'" + ASK_NTP + "'"
    assert host.run(f"python3 -c {quoted} {host.machine.second_opinion}") == "True"
    assert host.machine.claim == Claim(phc_supported=True, source="lab", date=time.strftime("%Y-%m-%d", time.gmtime()))
    assert host.machine.placement.precise is True
    assert [Path(file).name for file in host.machine.evidence_files] == ["serial.log", "device.log"]
    assert " ena 0000:" in Path(host.machine.evidence_files[0]).read_text(errors="replace")  # a warning of the driver


def test_the_journal_goes_on_under_the_hosts_own_machine_id(provision: Provision) -> None:
    host = provision("a", "lab.driver-off")
    host.run("logger", "a-word-of-ours")
    assert "a-word-of-ours" in host.run("journalctl", "--no-pager", "-n", "20")
    assert host.run("journalctl -k --no-pager | grep -c 'Linux version'") == "1"


def test_a_device_without_the_feature_is_refused_by_its_driver(provision: Provision) -> None:
    host = provision("a", "lab.no-phc")
    words = host.run("devlink dev param set pci/0000:02:00.0 name enable_phc value true cmode driverinit 2>&1 || true")
    assert "Device doesn't support PHC" in words
    assert host.machine.claim is not None
    assert host.machine.claim.phc_supported is False


def test_the_old_driver_has_the_card_and_knows_no_clock(provision: Provision) -> None:
    host = provision("a", "lab.old-driver")
    assert host.run("uname", "-r").startswith("6.12.")
    assert host.run("basename $(readlink /sys/class/net/enp2s0/device/driver)") == "ena"
    assert host.run("ls /sys/class/ptp; devlink dev param show") == ""


def test_sshd_of_an_unreachable_host_never_speaks(provision: Provision) -> None:
    host = provision("a", "lab.unreachable")
    with socket.create_connection((host.machine.address, host.machine.port), timeout=5) as connection:
        connection.settimeout(5)
        try:
            heard = connection.recv(100)
        except (TimeoutError, ConnectionResetError):
            heard = b""
    assert heard == b""


def test_asked_for_again_it_is_the_same_host(provision: Provision, bench: LabBench) -> None:
    first = provision("a", "lab.driver-off")
    assert provision("a", "lab.driver-off").machine == first.machine
    bench.release(first.machine.token)
    assert bench.resources() == []


def test_a_host_whose_guest_died_is_made_anew(provision: Provision, bench: LabBench) -> None:
    first = provision("a", "lab.driver-off")
    folder = bench.records.folder(first.machine.token)
    [guest] = [marked for marked in process_tags.processes_of_folder(folder) if marked.role == process_tags.GUEST]
    proc.end(guest.process)
    give_up = time.monotonic() + 20
    while process_tags.processes_of_folder(folder):  # its device and NTP server end with it
        assert time.monotonic() < give_up
        time.sleep(0.1)
    second = provision("a", "lab.driver-off")
    assert second.machine.known_host != first.machine.known_host
    assert second.answers()


def test_release_is_complete_and_may_be_repeated(provision: Provision, bench: LabBench) -> None:
    host = provision("a", "lab.phc")
    kinds = sorted((left.kind, left.detail.split(" ")[0]) for left in bench.resources())
    assert ("folder", "sockets") in kinds
    assert {detail for kind, detail in kinds if kind == "process"} >= {"guest", "ena_device", "ntp_server"}
    bench.release(host.machine.token)
    assert bench.resources() == []
    assert process_tags.running_processes(lambda marked: marked.token == str(host.machine.token)) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.machine.address, host.machine.port), timeout=5)
    bench.release(host.machine.token)
    bench.release(Token(run="test", host="never-was"))
