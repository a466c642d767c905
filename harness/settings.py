"""Where things are kept and how patient to be: read once from the environment, then frozen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Directories and patience of one invocation.

    `state_dir` holds the ledger, runs' evidence and lab hosts; `cache_dir` what can be made again; `assets_dir` the
    roles, playbooks and lab recipes that travel with the package.
    """

    state_dir: Path
    cache_dir: Path
    assets_dir: Path
    ssh_tries: int = 5
    ssh_first_backoff_s: float = 1.0
    lab_guests: int = 3
    pulumi: str | None = None  # the command of the ec2 bench; None: the one on PATH
    pulumi_backend: str | None = None  # any that Pulumi knows; None: files in state_dir
    signing_key: Path | None = None  # of what the ec2 bench makes; None: a key of state_dir

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.sqlite"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.ledger_path}"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from PTP_HARNESS_STATE_DIR, PTP_HARNESS_CACHE_DIR, PTP_HARNESS_SSH_TRIES, _SSH_BACKOFF (seconds),
    _LAB_GUESTS (lab guests at a time on this machine, over all processes; one more than it has cores),
    _PULUMI (the command), _PULUMI_BACKEND (where stacks are kept) and _SIGNING_KEY (a file that controllers share).

    Directories default to the XDG base directories. Raises RequestError on a value that is not a number.
    """
    home = Path(environ.get("HOME", "/"))
    state_home = Path(environ.get("XDG_STATE_HOME") or home / ".local/state")
    cache_home = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Settings(
        state_dir=Path(environ.get("PTP_HARNESS_STATE_DIR") or state_home / "ptp-harness").absolute(),
        cache_dir=Path(environ.get("PTP_HARNESS_CACHE_DIR") or cache_home / "ptp-harness").absolute(),
        assets_dir=assets_dir(),
        ssh_tries=int(_number(environ, "PTP_HARNESS_SSH_TRIES", 5, least=1)),
        ssh_first_backoff_s=_number(environ, "PTP_HARNESS_SSH_BACKOFF", 1.0, least=0),
        lab_guests=int(_number(environ, "PTP_HARNESS_LAB_GUESTS", (os.cpu_count() or 1) + 1, least=1)),
        pulumi=environ.get("PTP_HARNESS_PULUMI") or None,
        pulumi_backend=environ.get("PTP_HARNESS_PULUMI_BACKEND") or None,
        signing_key=Path(key).absolute() if (key := environ.get("PTP_HARNESS_SIGNING_KEY")) else None,
    )


def assets_dir() -> Path:
    """The folder that holds roles/, playbooks/ and lab/: inside the installed package, or the checkout around it."""
    package = Path(__file__).resolve().parent
    installed = package / "_assets"
    return installed if installed.is_dir() else package.parent


def _number(environ: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    text = environ.get(name)
    if text is None or not text.strip():
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= least:
        raise RequestError(f"{name}={text!r} is not a number of at least {least:g}")
    return value
