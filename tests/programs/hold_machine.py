"""Hold the namespaces of a machine until standard input ends, then remove its folder and its cgroups.

Prints the machine's process 1, as this machine numbers it, and the machine's folder. Whoever reads that holds the other
end of standard input: the machine also ends when its owner is killed. The end of process 1 ends every process of the
machine, and with the last of them its mounts and its network go.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_FOLDERS = {"run": "/run", "lib": "/var/lib", "log": "/var/log"}
"""Folders of the machine's folder, by where its programs see them: empty at first, instead of those of this machine."""

SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What kubelet sets for the whole kernel unless it reads these values (setupKernelTunables): it reads files instead."""

_INIT = ("env", "--ignore-signal=CHLD", "cat")
"""Process 1: ends with its standard input. Ignoring SIGCHLD, it leaves no zombies of orphans."""

_REMOVED_WITHIN_S = 30.0


def hold() -> None:
    """Make a machine, print its process 1 and its folder, wait for its end, and remove what outlives it."""
    folder = Path(tempfile.mkdtemp(prefix="ptp-machine-"))
    try:
        for hierarchy in find_hierarchies():
            (hierarchy / folder.name).mkdir()
        script = folder / "begin"
        script.write_text("\n".join(["set -e", *_set_up(folder), "echo ready", f"exec {' '.join(_INIT)} >/dev/null"]))
        argv = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        with subprocess.Popen([*argv, "sh", str(script)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if process.stdout.readline() == "ready\n":
                print(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0], folder)
                sys.stdout.close()
    finally:
        remove_cgroups(folder.name)
        shutil.rmtree(folder)


def find_hierarchies() -> Iterator[Path]:
    """Yield the roots of the cgroup hierarchies: of version 2 there is one, of version 1 one for each controller."""
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
    else:
        yield from (path for path in sorted(CGROUPS.iterdir()) if path.is_mount())


def remove_cgroups(name: str) -> None:
    """Remove the cgroups of this name with all below them. A cgroup stays busy until its last process is reaped."""
    give_up_at = time.monotonic() + _REMOVED_WITHIN_S
    left = [hierarchy / name for hierarchy in find_hierarchies()]
    while left := [path for path in left if path.exists() and not _remove_tree(path)]:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"these cgroups are still busy: {left}")
        time.sleep(0.05)


def _remove_tree(cgroup: Path) -> bool:
    """Remove a cgroup after those below it; False where one is busy."""
    below = [_remove_tree(path) for path in cgroup.iterdir() if path.is_dir()]
    if not all(below):
        return False
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True


def _set_up(folder: Path) -> Iterator[str]:
    """Make the machine's folders; yield the commands that show them to its programs."""
    for name, place in OWN_FOLDERS.items():
        (folder / name).mkdir()
        yield f"mount --bind {folder / name} {place}"
    for name, value in SYSCTLS.items():
        path = folder / "sysctl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
        yield f"mount --bind {path} /proc/sys/{name}"
    yield "ip link set lo up"
    yield "echo 1 >/proc/sys/net/ipv4/ip_forward"  # of the machine's own network


if __name__ == "__main__":
    hold()
