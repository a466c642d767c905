"""Execute the host's requests: one JSON object per line over a virtio-serial port, with one reply each.

Runs inside the guest from boot on and is saved with the golden snapshot, so that a restored guest gets its identity at
once. Standard library only. Requests: see HANDLERS.

`unplug` and `replug` stand before and after a save of this guest with its memory. QEMU cannot save the state of an ENA
card, so the kernel has no card at that moment; what `replug` must bring back is in this process, and is saved with it.
"""

import fcntl
import glob
import json
import mmap
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PORT = "/dev/virtio-ports/lab.agent"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
ADDRESS = "10.0.2.15"  # lab/image/root/etc/systemd/network
SSHD_PIPE = "/run/lab-sshd-config"  # the pipe on which the golden guest's sshd waits (sshd-once-named)
SSHD_CONFIG = "Include /etc/ssh/sshd_config\n"
JOURNALS = "/run/log/journal"
SSHD_PID = "/run/sshd.pid"
ENA_DRIVER = "/sys/bus/pci/drivers/ena"
PCI_DEVICES = "/sys/bus/pci/devices"
PCI_RESCAN = "/sys/bus/pci/rescan"
AMAZON = "0x1d0f"  # PCI vendor (pci_ids.h)
PTP_CLASS = "/sys/class/ptp"
PROCESSES = "/proc"
CONSOLE_LEVEL = "/proc/sys/kernel/printk"
UNSTOPPABLE = ("lab-agent.service", "ssh.service")  # a snapshot must not end this process or sessions of users
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # <linux/random.h>
PORT_DEADLINE_S = 900.0
PAUSE_S = 0.02
SPARE_KIB = 24 * 1024
EAGER_PAUSE_S, IDLE_PAUSE_S = 0.02, 0.5  # between reads while no host is connected: before and after the identity

Request = dict[str, Any]
Reply = dict[str, Any]

sockets_of_earlier_keys: set[str | None] = set()  # by inode
unplugged_cards: dict[str, bool] = {}  # PCI address of each card that `unplug` removed: whether its clock was on
stopped_services: list[str] = []


def hello(request: Request) -> Reply:
    """Return the running kernel, the boot id, and the requests that this agent knows."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return {"kernel": os.uname().release, "boot_id": file.read().strip(), "requests": sorted(HANDLERS)}


def warm(request: Request) -> Reply:
    """Wait for the boot's end, then load into memory what a restored guest needs first: an SSH login, and devlink."""
    wait_for(boot_finished, request["timeout_s"], "the boot does not end")
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    key = "/root/.ssh/warm"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    shutil.copy(key + ".pub", AUTHORIZED_KEYS)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-h", key, "-p", "2222"]) as server:
        wait_for(lambda: is_listening(2222), 30, "sshd does not listen")
        run("ssh", "-q", "-o", "StrictHostKeyChecking=no", "-i", key, "-p", "2222", "root@127.0.0.1", "true")
        server.terminate()
    shutil.rmtree("/root/.ssh")
    run("modprobe", "ena")
    run_devlink("dev show\n")
    subprocess.run(["udevadm", "settle", "--timeout=60"])  # a restored guest would go on with the boot's devices
    write(CONSOLE_LEVEL, "5\n")  # a restored guest writes warnings to its slow serial console, and no more
    os.sync()
    clear_free_memory()
    return {}


def identity(request: Request) -> Reply:
    """Set this guest's own clock, random numbers, names and keys; only then let sshd start. `login` waits for sshd."""
    time.clock_settime_ns(time.CLOCK_REALTIME, request["utc_ns"])
    seed_random(bytes.fromhex(request["entropy"]))
    socket.sethostname(request["hostname"])
    write("/etc/hostname", request["hostname"] + "\n")
    write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {request['hostname']}\n")
    write("/etc/machine-id", request["machine_id"] + "\n")
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    write(AUTHORIZED_KEYS, request["authorized_key"] + "\n", mode=0o600)
    for journal in list_folder(JOURNALS)[:1]:  # journalctl reads the folder named after the machine id
        os.rename(f"{JOURNALS}/{journal}", f"{JOURNALS}/{request['machine_id']}")
    if request["ssh"]:  # without a host key sshd does not start, now or after a reboot
        write(HOST_KEY + ".pub", request["host_key_public"] + "\n")
        write(HOST_KEY, request["host_key"], mode=0o600)
        earlier = listening_socket(22)
        sockets_of_earlier_keys.add(earlier)
        if earlier is None:
            configure_sshd()
        else:  # this guest had another identity before
            os.kill(int(read_text(SSHD_PID)), signal.SIGHUP)  # sshd executes itself again, with the new key (sshd(8))
    return {}


def login(request: Request) -> Reply:
    """Wait until sshd listens with this guest's host key."""
    wait_for(
        lambda: listening_socket(22) not in {None, *sockets_of_earlier_keys},
        request["timeout_s"],
        "sshd does not listen",
    )
    return {}


def driver(request: Request) -> Reply:
    """Wait until the ENA driver has set up all its cards."""
    wait_for(lambda: len(ena_cards()) == request["cards"], request["timeout_s"], "too few network cards of ena")
    return {}


def enable_phc(request: Request) -> Reply:
    """Switch a card's clock on by devlink, like an image with the clock switched on, and wait for it."""
    pci = next(pci for pci, interface in ena_cards() if has_mac(interface, request["mac"]))
    switch_clock_on(pci, request["timeout_s"])
    return {"clock": clocks_of(pci)[0]}


def unplug(request: Request) -> Reply:
    """Remove the ENA cards from the kernel, after a stop of the services that have a clock of theirs open.

    A clock's number stays taken while a process has the clock open.
    """
    cards = {pci: bool(clocks_of(pci)) for pci, _ in ena_cards()}
    unplugged_cards.clear()
    unplugged_cards.update(cards)
    stopped_services[:] = services_with_open_files({f"/dev/{clock}" for pci in cards for clock in clocks_of(pci)})
    if stopped_services:
        run("systemctl", "stop", *stopped_services)
    for pci in amazon_functions():
        write_in_background(f"{PCI_DEVICES}/{pci}/remove", "1")
    wait_for(lambda: not amazon_functions(), request["timeout_s"], "the kernel does not let go of an ENA card")
    os.sync()
    return {"cards": len(cards), "services": list(stopped_services)}


def replug(request: Request) -> Reply:
    """Bring back what `unplug` took: the cards, as new devices, their clocks, and the services. Set the time first."""
    if request["utc_ns"] is not None:
        time.clock_settime_ns(time.CLOCK_REALTIME, request["utc_ns"])
    timeout_s = request["timeout_s"]
    write_in_background(PCI_RESCAN, "1")
    wait_for(lambda: unplugged_cards.keys() <= dict(ena_cards()).keys(), timeout_s, "too few network cards of ena")
    for pci, clock_was_on in unplugged_cards.items():
        if clock_was_on and not clocks_of(pci):  # some drivers switch it on themselves
            switch_clock_on(pci, timeout_s)
    if stopped_services:
        run("udevadm", "settle", "--timeout=30")  # the clock's names in /dev
        run("systemctl", "start", "--no-block", *stopped_services)
    return {"clocks": sum(map(len, map(clocks_of, unplugged_cards)))}


def exists(request: Request) -> Reply:
    """Tell whether a path matches the pattern."""
    return {"found": bool(glob.glob(request["pattern"]))}


def shell(request: Request) -> Reply:
    """Run a script by root's shell, with which a truth changes its host. Its background processes keep running."""
    result = subprocess.run(
        ["/bin/sh", "-c", request["script"]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return {"status": result.returncode, "out": (result.stdout + result.stderr)[-2000:]}


HANDLERS: dict[str, Callable[[Request], Reply]] = {
    "hello": hello,
    "warm": warm,
    "identity": identity,
    "login": login,
    "driver": driver,
    "enable_phc": enable_phc,
    "unplug": unplug,
    "replug": replug,
    "exists": exists,
    "shell": shell,
}


def handle_line(line: bytes) -> Reply:
    """Execute the request in one line; any line gets a reply."""
    try:
        request = json.loads(line)
        return {"ok": True, **HANDLERS[request["do"]](request)}
    except subprocess.CalledProcessError as error:
        return {"ok": False, "error": f"{' '.join(error.cmd)}: status {error.returncode}: {error.stderr.strip()}"}
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def clear_free_memory() -> None:
    """Fill free memory with zeros: empty pages take no room in a saved guest, and no time in its restore."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free_kib = next(int(line.split()[1]) for line in file if line.startswith("MemFree:"))
    size = (free_kib - SPARE_KIB) * 1024
    if size > 0:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def seed_random(seed: bytes) -> None:
    """Give the kernel random numbers that no other clone has, and reseed its generator with them (random(4))."""
    fd = os.open("/dev/urandom", os.O_WRONLY)
    try:
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
    finally:
        os.close(fd)


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)


def write(path: str, text: str, *, mode: int = 0o644) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write_in_background(path: str, text: str) -> None:
    """Write to a file of the kernel that may answer late or never, as when a driver hangs."""
    threading.Thread(target=write, args=(path, text), daemon=True).start()


def configure_sshd() -> None:
    """Give the sshd that waits at the pipe, or soon will, its configuration. In a booted guest there is no pipe."""
    if not is_pipe(SSHD_PIPE):
        return
    with open(SSHD_PIPE, "w", encoding="ascii") as pipe:
        write(SSHD_PIPE + ".new", SSHD_CONFIG)
        os.rename(SSHD_PIPE + ".new", SSHD_PIPE)
        pipe.write(SSHD_CONFIG)


def is_pipe(path: str) -> bool:
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


def is_listening(port: int) -> bool:
    """Tell whether a socket listens on that TCP port."""
    return listening_socket(port) is not None


def listening_socket(port: int) -> str | None:
    """Return the inode of the socket that listens on that TCP port (state 0A in /proc/net/tcp, proc_net_tcp.txt)."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        sockets = [line.split() for line in file][1:]
    return next((row[9] for row in sockets if row[1].endswith(f":{port:04X}") and row[3] == "0A"), None)


def list_folder(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def boot_finished() -> bool:
    """Tell whether the network is up and systemd has no job left. sshd waits for this guest's identity by then."""
    with open("/proc/net/fib_trie", encoding="ascii") as file:
        if ADDRESS not in file.read() or not is_pipe(SSHD_PIPE):
            return False
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend"], capture_output=True, text=True, timeout=60).stdout
    return not jobs.strip()


def ena_cards() -> list[tuple[str, str]]:
    """List PCI address and interface of each card that is set up; during the setup a card has no interface yet."""
    devices = [name for name in list_folder(ENA_DRIVER) if ":" in name]
    return [(pci, interface) for pci in devices for interface in list_folder(f"{PCI_DEVICES}/{pci}/net")]


def amazon_functions() -> list[str]:
    """List the PCI addresses of Amazon's devices, with a driver or without."""
    return [pci for pci in list_folder(PCI_DEVICES) if read_text(f"{PCI_DEVICES}/{pci}/vendor") == AMAZON]


def clocks_of(pci: str) -> list[str]:
    return list_folder(f"{PCI_DEVICES}/{pci}/ptp")


def switch_clock_on(pci: str, timeout_s: float) -> None:
    """Switch a card's clock on by devlink, and wait for it.

    The driver registers the parameter with devlink last, a moment after the interface: until then setting it fails.
    """
    device = f"pci/{pci}"
    commands = f"dev param set {device} name enable_phc value true cmode driverinit\ndev reload {device}\n"
    give_up_s = time.monotonic() + timeout_s
    while (result := run_devlink(commands)).returncode != 0:
        if time.monotonic() > give_up_s:
            raise OSError(f"devlink: {result.stderr.strip()}")
        time.sleep(PAUSE_S)
    wait_for(lambda: clocks_of(pci), timeout_s, "no clock after devlink reload")


def run_devlink(commands: str) -> "subprocess.CompletedProcess[str]":
    """Run several commands of devlink until one fails: under emulation a start takes longer than the commands."""
    return subprocess.run(["devlink", "-b", "-"], input=commands, capture_output=True, text=True, timeout=60)


def services_with_open_files(paths: set[str]) -> list[str]:
    """List the services of which a process has one of these files open, by /proc/PID/fd and /proc/PID/cgroup."""
    services = set()
    for pid in filter(str.isdigit, os.listdir(PROCESSES) if paths else ()):
        try:
            files = {os.readlink(f"{PROCESSES}/{pid}/fd/{fd}") for fd in os.listdir(f"{PROCESSES}/{pid}/fd")}
        except OSError:  # the process has ended
            continue
        if files & paths:
            services.add(read_text(f"{PROCESSES}/{pid}/cgroup").rpartition("/")[2])
    return sorted(name for name in services if name.endswith(".service") and name not in UNSTOPPABLE)


def read_text(path: str) -> str:
    """Return a small file's text without the end of its line; empty where it is gone."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def has_mac(interface: str, mac: str) -> bool:
    with open(f"/sys/class/net/{interface}/address", encoding="ascii") as file:
        return file.read().strip() == mac


def wait_for(condition: Callable[[], object], timeout_s: float, failure: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{failure} within {timeout_s:g} s")
        time.sleep(PAUSE_S)


def read_lines(port: int) -> Iterator[bytes]:
    """Yield complete lines from the port for ever. While no host is connected a read returns nothing, at once."""
    data, pause_s = b"", EAGER_PAUSE_S
    while True:
        part = os.read(port, 65536)
        if not part:
            data = b""
            time.sleep(pause_s)
        data += part
        *complete_lines, data = data.split(b"\n")
        for line in complete_lines:
            yield line
            if b'"identity"' in line or b'"replug"' in line:
                pause_s = IDLE_PAUSE_S
            elif b'"unplug"' in line:
                pause_s = EAGER_PAUSE_S  # the next host that connects may be a restored one


def main() -> None:
    wait_for(lambda: os.path.exists(PORT), PORT_DEADLINE_S, f"no {PORT}")
    port = os.open(PORT, os.O_RDWR)
    for line in read_lines(port):
        os.write(port, json.dumps(handle_line(line)).encode() + b"\n")


if __name__ == "__main__":
    main()
