"""How is a folder filled with Debian's packages? By mmdebstrap, from this machine's mirror, each downloaded once."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.benches.lab.parts import apt_sources, cache_build
from harness.benches.lab.processes import process_tags
from harness.system import capped_output, proc

_DEADLINE_S = 1800.0


def make_root(root: Path, cache: Path, *, variant: str, include: Sequence[str], options: Sequence[str] = ()) -> None:
    """Make `root`. Packages are kept in the cache and taken from there the next time."""
    _passable(cache.parent, cache, root.parent)
    sources = root.with_name(root.name + ".sources.list")
    sources.write_text(apt_sources.lines())
    packages = shlex.quote(str(cache_build.make_writable(cache / "packages")))
    keep = [
        "--skip=download/empty",
        "--skip=essential/unlink",
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives/"',
        f"--setup-hook=sync-in {packages} /var/cache/apt/archives/",
        f"--customize-hook=sync-out /var/cache/apt/archives {packages}",
        f"--customize-hook=rm -rf {packages}/lock {packages}/partial",
    ]
    proc.run(
        [
            *_apart(),
            "mmdebstrap",
            "--quiet",
            f"--variant={variant}",
            "--format=directory",
            '--aptopt=Acquire::Languages "none"',
            f"--include={','.join(include)}",
            *options,
            *keep,
            apt_sources.SUITE,
            str(root),
            str(sources),
        ],
        timeout_s=_DEADLINE_S,
        umask=0o022,  # what it makes is a system's root
        most_err=capped_output.MOST_OUT,  # it is our own, and apt has much to say
        env={
            **process_tags.environment(root.parent, "build"),
            "TMPDIR": str(root.parent),
        },  # what a kill leaves goes with it
    )


def _passable(*folders: Path) -> None:
    """Let the users of a root, who are others than ours for whoever is not root, pass through folders that it is in."""
    for folder in folders if os.geteuid() != 0 else ():
        with suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o011)


def _apart() -> tuple[str, ...]:
    """Words that give a root's build mounts and processes of its own: all of them are gone when it is killed.

    None where that is not allowed, as in a chroot: there discard() finds the mounts that a kill leaves behind.
    """
    words = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    allowed = os.geteuid() == 0 and proc.run([*words, "true"], timeout_s=30, check=False).status == 0
    return words if allowed else ()


def command_prefix() -> tuple[str, ...]:
    """Words before a command that must see the users of a root as mmdebstrap made them: none for root itself."""
    return () if os.geteuid() == 0 else ("unshare", "--map-auto", "--map-root-user")
