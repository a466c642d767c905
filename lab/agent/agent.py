"""What does the host tell this guest about itself? One JSON object a line over a virtio-serial port, one reply each.

Runs inside the guest from boot on and is saved with the golden snapshot, so that a restored guest hears at once who it
is. Standard library only. Requests: see ANSWERS.
"""

import fcntl
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

PORT = "/dev/virtio-ports/lab.agent"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
ADDRESS = "10.0.2.15"  # lab/image/root/etc/systemd/network
NAMED = "/run/lab-named"  # the pipe on which sshd-once-named waits
JOURNALS = "/run/log/journal"
ENA_DRIVER = "/sys/bus/pci/drivers/ena"
PTP_CLASS = "/sys/class/ptp"
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # <linux/random.h>
PORT_DEADLINE_S = 900.0
PAUSE_S = 0.02
EAGER_PAUSE_S, IDLE_PAUSE_S = 0.02, 0.5  # between looks while no host is connected: before and after the identity

Request = dict[str, Any]
Reply = dict[str, Any]


def hello(request: Request) -> Reply:
    """Which kernel runs here, and since which boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return {"kernel": os.uname().release, "boot_id": file.read().strip()}


def warm(request: Request) -> Reply:
    """Wait for the boot's end, then bring into memory what a restored guest needs first: an SSH login, and devlink."""
    wait_for(settled, request["timeout_s"], "the boot does not end")
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    key = "/root/.ssh/warm"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    shutil.copy(key + ".pub", AUTHORIZED_KEYS)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-h", key, "-p", "2222"]) as server:
        wait_for(lambda: listens(2222), 30, "sshd does not listen")
        run("ssh", "-q", "-o", "StrictHostKeyChecking=no", "-i", key, "-p", "2222", "root@127.0.0.1", "true")
        server.terminate()
    shutil.rmtree("/root/.ssh")
    run("modprobe", "ena")
    run("devlink", "dev")
    os.sync()
    return {}


def identity(request: Request) -> Reply:
    """Take on a clock, random numbers, names and keys of one's own; only then let sshd speak."""
    time.clock_settime_ns(time.CLOCK_REALTIME, request["utc_ns"])
    stir(bytes.fromhex(request["entropy"]))
    socket.sethostname(request["hostname"])
    write("/etc/hostname", request["hostname"] + "\n")
    write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {request['hostname']}\n")
    write("/etc/machine-id", request["machine_id"] + "\n")
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    write(AUTHORIZED_KEYS, request["authorized_key"] + "\n", mode=0o600)
    for older in names(JOURNALS):  # journalctl looks in the folder that is named like the machine
        os.rename(f"{JOURNALS}/{older}", f"{JOURNALS}/{request['machine_id']}")
    if request["ssh"]:  # without a host key sshd does not start, now or after a reboot
        write(HOST_KEY + ".pub", request["host_key_public"] + "\n")
        write(HOST_KEY, request["host_key"], mode=0o600)
        write(NAMED, "now\n")
        wait_for(lambda: listens(22), 60, "sshd does not listen")
    return {}


def driver(request: Request) -> Reply:
    """Wait until the ENA driver serves its cards."""
    wait_for(lambda: len(ena_cards()) == request["cards"], request["timeout_s"], "too few network cards of ena")
    return {}


def enable_phc(request: Request) -> Reply:
    """Switch a card's clock on by devlink, as an image that comes with it switched on would, and wait for it."""
    device = "pci/" + next(pci for pci, interface in ena_cards() if has_mac(interface, request["mac"]))
    wait_for(lambda: devlink_has(device), request["timeout_s"], f"devlink does not know {device}")
    run("devlink", "dev", "param", "set", device, "name", "enable_phc", "value", "true", "cmode", "driverinit")
    run("devlink", "dev", "reload", device)
    wait_for(lambda: names(PTP_CLASS), request["timeout_s"], "no clock after devlink reload")
    return {"clock": names(PTP_CLASS)[0]}


def exists(request: Request) -> Reply:
    """Whether a path of that pattern is there."""
    return {"found": bool(glob.glob(request["pattern"]))}


def shell(request: Request) -> Reply:
    """Run a script by root's shell: what a truth does to its host. What it leaves in the background goes on."""
    done = subprocess.run(
        ["/bin/sh", "-c", request["script"]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return {"status": done.returncode, "out": (done.stdout + done.stderr)[-2000:]}


ANSWERS: dict[str, Callable[[Request], Reply]] = {
    "hello": hello,
    "warm": warm,
    "identity": identity,
    "driver": driver,
    "enable_phc": enable_phc,
    "exists": exists,
    "shell": shell,
}


def answer(line: bytes) -> Reply:
    """The reply to one line, whatever it holds."""
    try:
        request = json.loads(line)
        return {"ok": True, **ANSWERS[request["do"]](request)}
    except subprocess.CalledProcessError as error:
        return {"ok": False, "error": f"{' '.join(error.cmd)}: status {error.returncode}: {error.stderr.strip()}"}
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def stir(seed: bytes) -> None:
    """Give the kernel random numbers that no other clone has, and renew its generator from them (random(4))."""
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


def listens(port: int) -> bool:
    """Whether a socket listens on that TCP port (state 0A in /proc/net/tcp, proc_net_tcp.txt)."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        sockets = [line.split() for line in file][1:]
    return any(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in sockets)


def names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def settled() -> bool:
    """Whether the network is up and systemd has no job under way but sshd's, which waits for this guest's name."""
    with open("/proc/net/fib_trie", encoding="ascii") as file:
        if ADDRESS not in file.read():
            return False
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend"], capture_output=True, text=True, timeout=60).stdout
    return {line.split()[1] for line in jobs.splitlines() if line.split()[3] == "running"} == {"ssh.service"}


def ena_cards() -> list[tuple[str, str]]:
    """PCI address and interface of each card whose driver is through with it; the address alone comes earlier."""
    devices = [name for name in names(ENA_DRIVER) if ":" in name]
    return [(pci, interface) for pci in devices for interface in names(f"/sys/bus/pci/devices/{pci}/net")]


def has_mac(interface: str, mac: str) -> bool:
    with open(f"/sys/class/net/{interface}/address", encoding="ascii") as file:
        return file.read().strip() == mac


def devlink_has(device: str) -> bool:
    """Whether the driver has told devlink of the device, which it does last."""
    return subprocess.run(["devlink", "dev", "show", device], capture_output=True, timeout=60).returncode == 0


def wait_for(seen: Callable[[], object], timeout_s: float, otherwise: str) -> None:
    give_up = time.monotonic() + timeout_s
    while not seen():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{otherwise} within {timeout_s:g} s")
        time.sleep(PAUSE_S)


def lines(port: int) -> Iterator[bytes]:
    """Whole lines from the port for ever. While no host is connected a read gives nothing, at once."""
    data, pause_s = b"", EAGER_PAUSE_S
    while True:
        part = os.read(port, 65536)
        if not part:
            data = b""
            time.sleep(pause_s)
        data += part
        *whole, data = data.split(b"\n")
        for line in whole:
            yield line
            if b'"identity"' in line:
                pause_s = IDLE_PAUSE_S


def main() -> None:
    wait_for(lambda: os.path.exists(PORT), PORT_DEADLINE_S, f"no {PORT}")
    port = os.open(PORT, os.O_RDWR)
    for line in lines(port):
        os.write(port, json.dumps(answer(line)).encode() + b"\n")


if __name__ == "__main__":
    main()
