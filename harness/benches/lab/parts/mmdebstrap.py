"""Fill a folder with Debian packages by mmdebstrap, from this machine's mirror. Each package is downloaded once."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.parts import apt_sources, cache_build
from harness.benches.lab.processes import process_tags
from harness.system import capped_output, file_locks, proc

_DEADLINE_S = 1800.0


def make_root(
    root: Path,
    cache: Path,
    *,
    variant: str,
    include: Sequence[str],
    suite: str = apt_sources.DEBIAN_13,
    options: Sequence[str] = (),
    progress: Progress,
) -> None:
    """Make the folder `root` of a release of Debian. Packages stay in the cache for the next time.

    One root is made at a time: two would copy each other's half-written packages. Raises SetupError and CommandError.
    """
    _passable(cache.parent, cache, root.parent)
    sources = root.with_name(root.name + ".sources.list")
    sources.write_text(apt_sources.lines(suite))
    packages = shlex.quote(str(cache_build.make_writable(cache / "packages")))
    package_cache_options = [
        "--skip=download/empty",
        "--skip=essential/unlink",
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives/"',
        f"--setup-hook=sync-in {packages} /var/cache/apt/archives/",
        f"--customize-hook=sync-out /var/cache/apt/archives {packages}",
        f"--customize-hook=rm -rf {packages}/lock {packages}/partial",
    ]
    argv = [
        *_apart(),
        "mmdebstrap",
        "--quiet",
        f"--variant={variant}",
        "--format=directory",
        '--aptopt=Acquire::Languages "none"',
        f"--include={','.join(include)}",
        *options,
        *package_cache_options,
        suite,
        str(root),
        str(sources),
    ]
    with file_locks.locked(cache / "packages.lock", f"the packages of {root.parent.name}", progress):
        proc.run(
            argv,
            timeout_s=_DEADLINE_S,
            umask=0o022,  # the files in the root need a system's usual modes
            most_err=capped_output.MOST_OUT,  # a trusted program, and apt prints much
            env={
                **process_tags.environment(root.parent, "build"),
                "TMPDIR": str(root.parent),
            },  # temporary files of a killed build are removed with the folder
        )


def _passable(*folders: Path) -> None:
    """Let the mapped users of a root pass through its parent folders. As root, no users are mapped: do nothing."""
    for folder in folders if os.geteuid() != 0 else ():
        with suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o011)


def _apart() -> tuple[str, ...]:
    """Return an unshare(1) prefix for a build: its mounts and processes then vanish when the build is killed.

    Return nothing where unshare is not allowed, as in a chroot: discard() then undoes the mounts of a killed build.
    """
    prefix = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    allowed = os.geteuid() == 0 and proc.run([*prefix, "true"], timeout_s=30, check=False).status == 0
    return prefix if allowed else ()


def command_prefix() -> tuple[str, ...]:
    """Return a prefix for commands that must see the users of a root as mmdebstrap made them. Empty for root."""
    return () if os.geteuid() == 0 else ("unshare", "--map-auto", "--map-root-user")
