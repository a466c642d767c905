"""A guest's network is a boundary: root in a guest reaches its NTP server, and nothing of the machine it runs on."""

import ctypes
import ipaddress
import json
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.benches.lab.bench import LabBench
from harness.benches.lab.parts import qemu_process
from harness.benches.lab.processes import confinement, process_tags, runtime_dir
from harness.host import ssh
from harness.system import proc

from .conftest import Host
from .test_bench import ASK_NTP

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

Provision = Callable[[str, str], Host]
KNOWN = ["10.0.2.2", "10.0.2.3", "10.0.2.4", "10.0.2.100", "10.0.2.123", "fec0::2", "fec0::3"]  # QEMU's own addresses
BEYOND = ["169.254.169.254", "169.254.169.123", "192.0.2.1"]  # instance metadata, EC2's time, some network
CLONE_NEWNET = 0x40000000  # <linux/sched.h>
REACH = """
import json, socket, subprocess, sys, threading
for words in (
    "ip route replace default via 10.0.2.2 dev management",
    "sysctl -qw net.ipv6.conf.management.disable_ipv6=0",
    "ip -6 address add fec0::15/64 dev management nodad",
    "ip -6 route replace default via fec0::2 dev management",
):
    subprocess.run(words.split(), check=False)
heard = []
def reach(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as ours:
        ours.settimeout(4)
        try:
            ours.connect((address, port))
            ours.send(b"from a guest")
            heard.append([kind.name, address, port, repr(ours.recv(10))])
        except TimeoutError:
            pass
        except ConnectionRefusedError:
            if kind is not socket.SOCK_STREAM:  # QEMU's network itself refuses streams
                heard.append([kind.name, address, port, "refused"])
        except OSError as error:
            if error.errno != 113:  # no route to host: nobody has that address
                heard.append([kind.name, address, port, str(error)])
targets = json.loads(sys.argv[1])
threads = [threading.Thread(target=reach, args=(kind, address, port))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for address, port in targets]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(heard))
"""


@dataclass
class Canary:
    """Listens on a TCP and a UDP port of all of this machine's addresses, and remembers who came."""

    port: int
    came: list[str] = field(default_factory=list)


@contextmanager
def canary() -> Iterator[Canary]:
    with ExitStack() as cleanup, selectors.DefaultSelector() as selector:
        stream, datagram = (
            cleanup.enter_context(socket.socket(socket.AF_INET6, kind))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        )
        for each, port in ((stream, lambda: 0), (datagram, lambda: stream.getsockname()[1])):
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            each.bind(("::", port()))
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ)
        stream.listen()
        found = Canary(port=stream.getsockname()[1])
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                for key, _ in selector.select(0.1):
                    if key.fileobj is stream:
                        connection, who = stream.accept()
                        connection.close()
                        found.came.append(f"TCP from {who}")
                    else:
                        found.came.append(f"UDP from {datagram.recvfrom(100)[1]}")

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()


@contextmanager
def machine_with(addresses: list[str]) -> Iterator[None]:
    """A network namespace for whatever this thread starts, in which this machine has those addresses too.

    Only root can have one: others test against the addresses that there are.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        proc.run(["ip", "link", "set", "lo", "up"], timeout_s=30)
        for address in addresses:
            proc.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], timeout_s=30)
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(before)


def own_addresses() -> list[str]:
    """This machine's addresses but loopback's, as `ip` tells them."""
    interfaces = json.loads(proc.run(["ip", "-json", "address"], timeout_s=30).stdout)
    found = [ipaddress.ip_address(each["local"]) for one in interfaces for each in one.get("addr_info", [])]
    return [str(address) for address in found if not address.is_loopback and not address.is_link_local]


def listening(port: int) -> list[tuple[str, int]]:
    """What a guest may try: the canary by every address, and what usually listens on a machine."""
    everywhere = [*KNOWN, *BEYOND, *own_addresses()]
    usual = [("10.0.2.2", 22), ("10.0.2.3", 53), ("10.0.2.2", 69), ("169.254.169.254", 80), ("169.254.169.123", 123)]
    return [*((address, port) for address in everywhere), *usual]


def test_root_in_a_guest_reaches_its_ntp_server_and_nothing_of_this_machine(provision: Provision) -> None:
    with machine_with(BEYOND), canary() as found:
        host = provision("a", "lab.phc")
        came = 0
        for address in ["127.0.0.1", *(BEYOND if os.geteuid() == 0 else ())]:  # the canary sings
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as ours:
                    ours.connect((address, found.port))
                    ours.send(b"x")
                    came += 1
        words = ssh.build_command(
            host.machine, host.known_hosts, "python3", "-", f"'{json.dumps(listening(found.port))}'"
        )
        heard = json.loads(proc.run(words, stdin=REACH, timeout_s=120).stdout)
        assert len(found.came) == came, found.came
        assert heard == []
        ntp = ssh.build_command(host.machine, host.known_hosts, "python3", "-", str(host.machine.second_opinion))
        assert proc.run(ntp, stdin=ASK_NTP, timeout_s=60).stdout == "True\n"


@pytest.mark.skipif(not confinement.can_confine(), reason=f"needs root's rights: {confinement.why_not_confined()}")
def test_what_reads_a_guests_words_is_not_root_and_sees_that_guest_alone(provision: Provision, bench: LabBench) -> None:
    host, other = provision("a", "lab.phc"), provision("b", "lab.driver-off")
    record, others = (bench.records.find(each.machine.token) for each in (host, other))
    assert record is not None
    assert others is not None
    roles = {}
    for marked in process_tags.processes_of_folder(record.folder):
        status = Path(f"/proc/{marked.process.pid}/status").read_text()
        words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        root = Path(f"/proc/{marked.process.pid}/root")
        roles[marked.role] = int(words["Uid"].split()[0])
        if marked.role == "console":
            continue  # copies bytes, and looks at none
        assert set(words["Uid"].split()) == {str(confinement.guest_uid(record.folder))}
        assert words["NoNewPrivs"] == "1"
        assert int(words["CapBnd"], 16).bit_count() <= 1
        assert (root / str(record.sockets)[1:]).is_dir()
        for hidden in (others.folder, others.sockets, record.private_key, Path("/etc/shadow"), Path("/root/.ssh")):
            assert marked.role == process_tags.GUEST or not (root / str(hidden)[1:]).exists()
        if marked.role == process_tags.GUEST:
            assert words["Seccomp"] == "2"
            assert not (root / str(others.folder)[1:]).exists()
            assert record.private_key.stat().st_uid == 0
            assert record.private_key.stat().st_mode & 0o077 == 0
    assert set(roles) == {"guest", "console", "ena_device", "ntp_server"}
    assert host.machine.port == other.machine.port == 22  # it may still listen there


def test_a_guests_files_are_its_own(provision: Provision, bench: LabBench) -> None:
    host = provision("a", "lab.driver-off")
    record = bench.records.find(host.machine.token)
    assert record is not None
    owner = confinement.guest_uid(record.folder) if confinement.can_confine() else os.geteuid()
    for path in (record.overlay, *record.sockets.iterdir()):
        assert path.lstat().st_uid == owner, path
        assert path.is_socket() or path.lstat().st_mode & 0o077 == 0, path  # nobody comes as far as the sockets
    assert runtime_dir.sockets_root().stat().st_mode & 0o077 == 0


def test_a_console_that_is_written_to_without_end_does_not_fill_the_disk(
    provision: Provision, bench: LabBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_process, "MOST_CONSOLE_BYTES", 100_000)
    host = provision("a", "lab.driver-off")
    host.run("dd if=/dev/zero of=/dev/ttyS0 bs=1000 count=300")
    record = bench.records.find(host.machine.token)
    assert record is not None
    assert record.serial_log.stat().st_size == 100_000
    assert host.answers()
    assert record.processes["guest"].alive()
