"""What a guest, its QEMU or a control client sends never ends the device, holds it up, or makes it grow."""

import io
import json
import mmap
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ena_device import admin_layout as al
from ena_device import registers as reg
from ena_device import vfio_user as vu
from ena_device.clock import ClockSettings, SharedClock
from ena_device.control import LONGEST_ERROR, MAX_LINE, MAX_REPLY, ControlError, ask
from ena_device.doorbell import PollPauses, watch
from ena_device.driver import MEMORY_AT, PHC_AT, ProgramDriver
from ena_device.event_log import LAST_LINE, LONGEST_LINE, EventLog
from ena_device.guest_memory import MAX_REGIONS, GuestMemory, Window
from ena_device.peer import Peer
from ena_device.phc import RESPONSE_SIZE, Responder
from ena_device.rings import MAX_DEPTH
from ena_device.running import RunningDevice

Connect = Callable[[RunningDevice], ProgramDriver]
EINVAL = 22
MOST_WATCHED = 64


# --- the guest -------------------------------------------------------------------------------------------------------


def test_a_guest_that_configures_the_clock_again_and_again_holds_nobody_up(
    mapped_device: RunningDevice, connect: Connect
) -> None:
    """A ring full of such commands is one write of a register; each of them would start a process."""
    driver = connect(mapped_device)
    depth = MAX_DEPTH
    driver.write(reg.DEV_CTL, reg.DEV_CTL_RESET)
    driver.write(reg.DEV_CTL, 0)
    commands, completions = 0x20000, 0x40000
    for base, caps, at in ((reg.AQ_BASE_LO, reg.AQ_CAPS, commands), (reg.ACQ_BASE_LO, reg.ACQ_CAPS, completions)):
        driver.write(base, MEMORY_AT + at)
        driver.write(caps, depth | al.ENTRY_SIZE << 16)
    where = al.PHC_SET.pack(MEMORY_AT + PHC_AT, 0, 0, RESPONSE_SIZE)
    values = bytes(13) + bytes([al.Feature.PHC_CONFIG, 0, 0]) + bytes(al.PHC_GET.size) + where
    command = (al.COMMAND.pack(0, al.Opcode.SET_FEATURE, 0) + values).ljust(al.ENTRY_SIZE, b"\0")
    driver.memory[commands : commands + depth * al.ENTRY_SIZE] = command * depth
    before = forks()
    assert driver.write(reg.AQ_DOORBELL, depth) == 0
    assert mapped_device.ask()["phc"] is True
    last = completions + (depth - 1) * al.ENTRY_SIZE
    assert driver.memory[last + al.COMPLETION_FLAGS_AT] == 1
    assert forks() - before < depth // 2
    assert len(mapped_device.children()) == 1


def forks() -> int:
    """Processes that this machine has started since it did."""
    stat = Path("/proc/stat").read_text()
    return int(stat.partition("\nprocesses ")[2].split()[0])


@pytest.mark.parametrize("depth", [MAX_DEPTH * 2, 1 << 15])
def test_a_ring_deeper_than_the_device_offers_is_refused(
    socket_device: RunningDevice, connect: Connect, depth: int
) -> None:
    driver = connect(socket_device)
    driver.reset()
    driver.write(reg.AQ_CAPS, depth | al.ENTRY_SIZE << 16)
    assert driver.write(reg.AQ_DOORBELL, 1) == EINVAL


class Ringing:
    """A doorbell that a guest writes to without a pause; it breaks after some looks, which ends the watcher."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __getitem__(self, place: int) -> int:
        self.left -= 1
        if not self.left:
            raise StopIteration
        return 7

    def __setitem__(self, place: int, value: int) -> None:
        pass


def test_a_guest_that_rings_without_end_leaves_half_of_the_core_to_others() -> None:
    """The watcher may run ahead of everything else on its core."""
    clock = SharedClock(ClockSettings(base_utc_ns=10**18, base_mono_ns=0))
    responder = Responder(clock, Window(mmap.mmap(-1, mmap.PAGESIZE), 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    with pytest.raises(StopIteration):
        watch(Ringing(50_000), responder, PollPauses(in_use_s=1e-4, idle_s=1e-3))  # type: ignore[arg-type]
    assert clock.load_counts().asked > 49_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before >= 45
    assert time.process_time() - begun_cpu_s < 0.75 * (time.monotonic() - begun_s)


def test_a_clock_at_the_beginning_of_time_with_jitter_goes_on_answering(
    socket_device: RunningDevice, connect: Connect
) -> None:
    driver = connect(socket_device)
    driver.configure_phc()
    state = socket_device.ask(offset_ns=-(10**18), frozen=True)
    assert socket_device.ask(step_ns=-state["now_ns"], jitter_ns=10**9)["now_ns"] == 0
    times = []
    for _ in range(50):
        reading = driver.read_phc()
        assert reading is not None
        times.append(reading.time_ns)
    assert min(times) == 0 < max(times) < 10**9


# --- QEMU ------------------------------------------------------------------------------------------------------------


def test_a_descriptor_that_nothing_can_be_written_to_is_refused(socket_device: RunningDevice) -> None:
    path_only = os.open("/", os.O_PATH)
    with Peer(socket_device.socket) as peer:
        peer.greet()
        assert peer.set_eventfds(0, [path_only]).error != 0
        assert peer.ask(vu.VfioCommand.GET_INFO).error == 0
    os.close(path_only)


def test_a_message_of_thousands_of_writes_is_refused(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        peer.greet()
        one = vu.MULTI_WRITE.pack(reg.INTR_MASK, vu.BAR0, 4, bytes(8))
        for count, error in ((vu.MAX_WRITES + 1, EINVAL), (4_000, EINVAL)):
            assert peer.ask(vu.VfioCommand.WRITE_MULTI, vu.MULTI_COUNT.pack(count) + one * count).error == error
        assert peer.ask(vu.VfioCommand.WRITE_MULTI, vu.MULTI_COUNT.pack(vu.MAX_WRITES) + one * vu.MAX_WRITES).error == 0


def test_the_page_of_the_doorbell_cannot_be_cut_off(mapped_device: RunningDevice, connect: Connect) -> None:
    """Whoever maps it could else end the device, which writes to it."""
    driver = connect(mapped_device)
    room = vu.REGION_INFO.size + vu.SPARSE_MMAP.size
    (fd,) = driver.peer.ask(vu.VfioCommand.GET_REGION_INFO, vu.REGION_INFO.pack(room, 0, vu.BAR0, 0, 0, 0)).fds
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)
    driver.configure_phc()
    assert driver.read_phc() is not None


def test_a_greeting_that_is_refused_is_none(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        assert peer.ask(vu.VfioCommand.VERSION, b"\0").error == EINVAL
        peer.send(vu.VfioCommand.GET_INFO, bytes(16))
        assert peer.closed_by_device()


def test_as_much_memory_as_may_be_mapped_leaves_descriptors_for_clients(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        peer.greet()
        fd = os.memfd_create("m")
        os.ftruncate(fd, mmap.PAGESIZE)
        answers = [
            peer.map_memory(fd, address=place * mmap.PAGESIZE, size=mmap.PAGESIZE).error
            for place in range(MAX_REGIONS + 1)
        ]
        os.close(fd)
        assert [place for place, error in enumerate(answers) if error] == [MAX_REGIONS]
        assert MAX_REGIONS + MOST_WATCHED + 200 < 1024
        assert socket_device.ask()["connected"] is True


def test_unmapping_everything_at_once_takes_no_longer_for_much() -> None:
    def seconds(count: int) -> float:
        best = float("inf")
        for _ in range(5):
            memory = GuestMemory()
            for place in range(count):
                memory.map(address=place * 4096, size=4096, fd=None, offset=0, writable=True)
            begun = time.process_time()
            memory.unmap(address=0, size=2**64)
            best = min(best, time.process_time() - begun)
        return best

    few, many = seconds(MAX_REGIONS // 8), seconds(MAX_REGIONS)
    assert many < 0.003 or many < 24 * few


# --- control clients -------------------------------------------------------------------------------------------------


def say(device: RunningDevice, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(device.control)
        sock.sendall(line)
        return sock.makefile("rb").readline()


@pytest.mark.parametrize(
    "wishes",
    [
        {f"{number:x}": 1 for number in range(1500)},
        {"mode": "\x7f" * 2000},
        {"offset_ns": [[0] * 5] * 500},
    ],
)
def test_a_line_that_is_wrong_throughout_has_a_short_answer(
    socket_device: RunningDevice, wishes: dict[str, object]
) -> None:
    line = json.dumps(wishes).encode() + b"\n"
    assert 2000 < len(line) < MAX_LINE
    reply = json.loads(say(socket_device, line))
    assert len(reply["error"]) < LONGEST_ERROR + 50
    assert socket_device.log.stat().st_size < 2 * LONGEST_ERROR


def test_no_more_than_some_processes_to_end_with(socket_device: RunningDevice) -> None:
    """Each keeps a descriptor of the device open."""
    processes = [os.fork() or os._exit(time.sleep(60) or 0) for _ in range(MOST_WATCHED)]
    try:
        for pid in processes:
            socket_device.ask(end_with=pid)
        with pytest.raises(ControlError, match="end_with: more than 64 processes to end with"):
            socket_device.ask(end_with=os.getpid())
        assert socket_device.ask(end_with=processes[0])["end_with"] == processes
    finally:
        socket_device.kill()
        for pid in processes:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"[1]\n", "no device answers there"),
        (b"7\n", "no device answers there"),
        (b"[" * 100_000 + b"\n", "recursion"),
        (b"x" * (MAX_REPLY + 70_000), "more than 1048576 bytes"),
    ],
)
def test_whoever_answers_in_place_of_a_device_is_refused(tmp_path: Path, answer: bytes, why: str) -> None:
    path = str(tmp_path / "none.ctl")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def reply() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                try:
                    client.sendall(answer)
                except OSError:
                    return

        other = threading.Thread(target=reply)
        other.start()
        with pytest.raises(ControlError, match=why):
            ask(path)
        other.join()


# --- the log ---------------------------------------------------------------------------------------------------------


def test_a_log_is_printable_cut_and_bounded() -> None:
    stream = io.StringIO()
    log = EventLog(stream, max_characters=2_000)
    log.write("driver \x1b[2J\n\u202e")
    log.write("x" * 10_000)
    first, second = stream.getvalue().splitlines()
    assert first == r"driver \x1b[2J\n\u202e"
    assert second == "x" * LONGEST_LINE + "..."
    for _ in range(1_000):
        log.write("admin command 7 rejected")
    lines = stream.getvalue().splitlines()
    assert lines[-1] == LAST_LINE
    assert lines.count(LAST_LINE) == 1
    assert len(stream.getvalue()) < 2_000 + len(LAST_LINE)


def test_a_log_on_a_full_disk_ends_nothing() -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closing it fails too
    log = EventLog(full)
    for _ in range(3):
        log.write("connected")
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_what_a_peer_tells_of_itself_is_one_short_line_of_the_log(socket_device: RunningDevice) -> None:
    with Peer(socket_device.socket) as peer:
        body = vu.VERSION.pack(0, 1) + b"\x1b[2J" * 10_000 + b"\0"
        for _ in range(3):
            assert peer.ask(vu.VfioCommand.VERSION, body).error == 0
    log = socket_device.log.read_text()
    assert "\x1b" not in log
    assert len(log) < 4 * LONGEST_LINE * 3
