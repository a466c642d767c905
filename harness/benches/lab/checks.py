"""Check the lab's requirements on the local machine, for `doctor`."""

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.benches.bench import Check
from harness.benches.lab.parts import apt_sources, cache_build, qemu
from harness.benches.lab.processes import confinement, runtime_dir
from harness.errors import HarnessError
from harness.system.settings import Settings

NEEDED_MIB = 4096
BUILD_TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
RUN_TOOLS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client"}
TOOLS = {**BUILD_TOOLS, **RUN_TOOLS}
"""Programs by which the lab's parts are built, and by which guests are reached; the Debian package of each."""


def find_tool(tool: str) -> str | None:
    """Return the path of a program, or None. /usr/sbin and /sbin are searched too: not every PATH holds them."""
    return shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def run_checks(settings: Settings) -> Sequence[Check]:
    return [
        _check_processor(),
        *(_check_tool(tool, package) for tool, package in TOOLS.items()),
        _check_qemu(),
        _run_check("debian mirror", lambda: apt_sources.lines().split()[2]),
        _run_check("state directory", lambda: str(cache_build.make_writable(settings.state_dir))),
        _run_check("cache directory", lambda: str(cache_build.make_writable(settings.cache_dir))),
        _run_check("sockets", lambda: str(runtime_dir.sockets_root())),
        _check_disk(settings.cache_dir),
        _check_accelerator(),
        Check(name="lab processes", ok=True, observed=confinement.describe()),
    ]


def _check_processor() -> Check:
    architecture = platform.machine()
    return Check(
        name="processor", ok=architecture == "x86_64", observed=architecture, remedy="lab guests need an x86-64 machine"
    )


def _check_tool(tool: str, package: str) -> Check:
    path = find_tool(tool)
    return Check(name=tool, ok=path is not None, observed=path or "not there", remedy=f"apt-get install {package}")


def _check_qemu() -> Check:
    installed = qemu.system_qemu()
    least = ".".join(map(str, qemu.LEAST))
    state = (
        f"{installed.version}, {installed.system[0]}"
        if installed
        else f"none of {least} or later: a private copy will serve"
    )
    if installed and not installed.sandbox:
        state += "; built without seccomp: guests' QEMUs keep system calls that they have no need of"
    return Check(name="qemu", ok=True, observed=state)


def _run_check(name: str, read_state: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, observed=read_state())
    except HarnessError as error:
        return Check(name=name, ok=False, observed=error.message, remedy=error.next_step)


def _check_disk(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(existing).free // 2**20
    return Check(
        name="disk space",
        ok=free_mib >= NEEDED_MIB,
        observed=f"{free_mib} MiB free of {NEEDED_MIB} MiB needed in {existing}",
        remedy="free some space, or set PTP_HARNESS_CACHE_DIR to another disk",
    )


def _check_accelerator() -> Check:
    accessible = os.access("/dev/kvm", os.R_OK | os.W_OK)
    state = "/dev/kvm is there: a trial boot decides" if accessible else "no /dev/kvm: software emulation"
    return Check(name="acceleration", ok=True, observed=state)
