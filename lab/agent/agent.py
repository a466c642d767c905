"""Execute the host's requests: one JSON object per line over a virtio-serial port, with one reply each.

Runs inside the guest from boot on and is saved with the golden snapshot, so that a restored guest gets its identity at
once. Standard library only. Requests: see HANDLERS.
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
IDENTITY_PIPE = "/run/lab-named"  # the pipe on which sshd-once-named waits
JOURNALS = "/run/log/journal"
ENA_DRIVER = "/sys/bus/pci/drivers/ena"
PTP_CLASS = "/sys/class/ptp"
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # <linux/random.h>
PORT_DEADLINE_S = 900.0
PAUSE_S = 0.02
EAGER_PAUSE_S, IDLE_PAUSE_S = 0.02, 0.5  # between reads while no host is connected: before and after the identity

Request = dict[str, Any]
Reply = dict[str, Any]


def hello(request: Request) -> Reply:
    """Return the running kernel and the boot id."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return {"kernel": os.uname().release, "boot_id": file.read().strip()}


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
    run("devlink", "dev")
    os.sync()
    return {}


def identity(request: Request) -> Reply:
    """Set this guest's own clock, random numbers, names and keys; only then let sshd start."""
    time.clock_settime_ns(time.CLOCK_REALTIME, request["utc_ns"])
    seed_random(bytes.fromhex(request["entropy"]))
    socket.sethostname(request["hostname"])
    write("/etc/hostname", request["hostname"] + "\n")
    write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {request['hostname']}\n")
    write("/etc/machine-id", request["machine_id"] + "\n")
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    write(AUTHORIZED_KEYS, request["authorized_key"] + "\n", mode=0o600)
    for journal in list_folder(JOURNALS):  # journalctl reads the folder named after the machine id
        os.rename(f"{JOURNALS}/{journal}", f"{JOURNALS}/{request['machine_id']}")
    if request["ssh"]:  # without a host key sshd does not start, now or after a reboot
        write(HOST_KEY + ".pub", request["host_key_public"] + "\n")
        write(HOST_KEY, request["host_key"], mode=0o600)
        write(IDENTITY_PIPE, "now\n")
        wait_for(lambda: is_listening(22), 60, "sshd does not listen")
    return {}


def driver(request: Request) -> Reply:
    """Wait until the ENA driver has set up all its cards."""
    wait_for(lambda: len(ena_cards()) == request["cards"], request["timeout_s"], "too few network cards of ena")
    return {}


def enable_phc(request: Request) -> Reply:
    """Switch a card's clock on by devlink, like an image with the clock switched on, and wait for it."""
    device = "pci/" + next(pci for pci, interface in ena_cards() if has_mac(interface, request["mac"]))
    wait_for(lambda: devlink_has(device), request["timeout_s"], f"devlink does not know {device}")
    run("devlink", "dev", "param", "set", device, "name", "enable_phc", "value", "true", "cmode", "driverinit")
    run("devlink", "dev", "reload", device)
    wait_for(lambda: list_folder(PTP_CLASS), request["timeout_s"], "no clock after devlink reload")
    return {"clock": list_folder(PTP_CLASS)[0]}


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
    "driver": driver,
    "enable_phc": enable_phc,
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


def is_listening(port: int) -> bool:
    """Tell whether a socket listens on that TCP port (state 0A in /proc/net/tcp, proc_net_tcp.txt)."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        sockets = [line.split() for line in file][1:]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in sockets)


def list_folder(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def boot_finished() -> bool:
    """Tell whether the network is up and systemd runs no job except sshd's, which waits for this guest's identity."""
    with open("/proc/net/fib_trie", encoding="ascii") as file:
        if ADDRESS not in file.read():
            return False
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend"], capture_output=True, text=True, timeout=60).stdout
    return {line.split()[1] for line in jobs.splitlines() if line.split()[3] == "running"} == {"ssh.service"}


def ena_cards() -> list[tuple[str, str]]:
    """List PCI address and interface of each card that is set up; during the setup a card has no interface yet."""
    devices = [name for name in list_folder(ENA_DRIVER) if ":" in name]
    return [(pci, interface) for pci in devices for interface in list_folder(f"/sys/bus/pci/devices/{pci}/net")]


def has_mac(interface: str, mac: str) -> bool:
    with open(f"/sys/class/net/{interface}/address", encoding="ascii") as file:
        return file.read().strip() == mac


def devlink_has(device: str) -> bool:
    """Tell whether the driver has registered the device with devlink, which is the last step of its setup."""
    return subprocess.run(["devlink", "dev", "show", device], capture_output=True, timeout=60).returncode == 0


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
            if b'"identity"' in line:
                pause_s = IDLE_PAUSE_S


def main() -> None:
    wait_for(lambda: os.path.exists(PORT), PORT_DEADLINE_S, f"no {PORT}")
    port = os.open(PORT, os.O_RDWR)
    for line in read_lines(port):
        os.write(port, json.dumps(handle_line(line)).encode() + b"\n")


if __name__ == "__main__":
    main()
