"""Read directories, numbers of retries and other settings from the environment, once; they do not change afterwards."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError
from harness.untrusted import input_checks, names

LAB_CACHE = "PTP_HARNESS_LAB_CACHE"
LEDGER_URL = "PTP_HARNESS_LEDGER_URL"
LEDGER_URL_FILE = "PTP_HARNESS_LEDGER_URL_FILE"
EVIDENCE_URL = "PTP_HARNESS_EVIDENCE_URL"
SIGNING_KEY = "PTP_HARNESS_SIGNING_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Directories, retries and other settings of one invocation.

    `state_dir` holds the ledger, runs' evidence and lab hosts; `cache_dir` data that can be made again; `assets_dir`
    the roles, playbooks and lab recipes that are part of the package.
    """

    state_dir: Path
    cache_dir: Path
    assets_dir: Path
    ssh_tries: int = 5
    ssh_first_backoff_s: float = 1.0
    lab_guests: int = 3
    lab_cache: Path | None = None  # the lab's parts, which machines share; None: in cache_dir, of this machine alone
    pulumi: str | None = None  # the command of the ec2 bench; None: pulumi on PATH
    pulumi_backend: str | None = None  # a URL of any backend of Pulumi; None: files in state_dir
    ledger: str | None = None  # the URL of the ledger's database; None: a SQLite file in state_dir
    evidence: str | None = None  # the URL of a store that evidence is sent to; None: it stays in state_dir
    archive_hosts: tuple[str, ...] = ()  # the only ones that driver archives come from; they may be private
    signing_key: Path | None = None  # signs the resources of the ec2 bench; None: a key in state_dir
    lease_s: float | None = None  # of this process as an owner in the ledger; None: the usual length

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"

    @property
    def lab_parts_dir(self) -> Path:
        """The folder of what lab guests are made from."""
        return self.lab_cache or self.cache_dir / "lab"

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.sqlite"

    @property
    def ledger_url(self) -> str:
        """The URL of the ledger's database: a SQLite file of this machine, unless another one is set."""
        return self.ledger or f"sqlite:///{self.ledger_path}"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from PTP_HARNESS_STATE_DIR, PTP_HARNESS_CACHE_DIR, PTP_HARNESS_SSH_TRIES, _SSH_BACKOFF (seconds),
    _LAB_GUESTS (lab guests at a time on this machine, over all processes; default: cores + 1),
    _LAB_CACHE (a folder of the lab's parts that machines share),
    _PULUMI (the command), _PULUMI_BACKEND (where stacks are kept), _LEDGER_URL (of the ledger's database),
    _LEDGER_URL_FILE (a file with that URL, as secrets of services come), _EVIDENCE_URL (of the store that evidence is
    sent to), _SIGNING_KEY (a file that controllers share) and _LEASE (seconds after which this process counts as dead).

    Directories default to the XDG base directories. Raises RequestError on an invalid value.
    """
    home = _read_folder(environ, "HOME", Path("/"))
    state_home = _read_folder(environ, "XDG_STATE_HOME", home / ".local/state")
    cache_home = _read_folder(environ, "XDG_CACHE_HOME", home / ".cache")
    return Settings(
        state_dir=_read_folder(environ, "PTP_HARNESS_STATE_DIR", state_home / "ptp-harness"),
        cache_dir=_read_folder(environ, "PTP_HARNESS_CACHE_DIR", cache_home / "ptp-harness"),
        assets_dir=assets_dir(),
        ssh_tries=int(_read_number(environ, "PTP_HARNESS_SSH_TRIES", 5, least=1, most=100)),
        ssh_first_backoff_s=_read_number(environ, "PTP_HARNESS_SSH_BACKOFF", 1.0, least=0, most=3600),
        lab_guests=int(_read_number(environ, "PTP_HARNESS_LAB_GUESTS", (os.cpu_count() or 1) + 1, least=1, most=1000)),
        lab_cache=_read_path(environ, LAB_CACHE),
        pulumi=_read_name(environ, "PTP_HARNESS_PULUMI", names.PATH, "a command's name or path"),
        pulumi_backend=_read_name(environ, "PTP_HARNESS_PULUMI_BACKEND", _BACKEND, "a URL such as s3://BUCKET"),
        ledger=_read_url(environ, LEDGER_URL) or _read_url_in_file(environ, LEDGER_URL_FILE),
        evidence=_read_url(environ, EVIDENCE_URL),
        signing_key=_read_path(environ, SIGNING_KEY),
        lease_s=_read_number(environ, "PTP_HARNESS_LEASE", 0.0, least=2.0, most=30.0) or None,
    )


def assets_dir() -> Path:
    """Find the folder of roles/, playbooks/ and lab/: inside the installed package, or in the checkout around it."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_assets"
    return installed if installed.is_dir() else package.parent


def _read_number(environ: Mapping[str, str], name: str, default: float, *, least: float, most: float) -> float:
    text = environ.get(name)
    if text is None or not text.strip():
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise RequestError(
            f"{name}={input_checks.shorten_value(text)} is not a number of at least {least:g} and at most {most:g}",
            next_step=_REMEDY.format(name=name),
        )
    return value


def _read_folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    return _read_path(environ, name) or default


def _read_path(environ: Mapping[str, str], name: str) -> Path | None:
    """Read a variable that names a file or folder, as an absolute path; None for an unset or empty variable."""
    text = environ.get(name)
    if not text:
        return None
    if why := input_checks.why_unfit(text):
        raise RequestError(f"{name} names no file or folder: it {why}", next_step=_REMEDY.format(name=name))
    return Path(text).absolute()


def _read_url(environ: Mapping[str, str], name: str) -> str | None:
    """Read a variable that holds a URL, which may have a password: no message shows it."""
    text = environ.get(name) or None
    if text is not None and (why := input_checks.why_unfit(text)):
        raise RequestError(f"{name} holds no URL: it {why}", next_step=_REMEDY.format(name=name))
    return text


def _read_url_in_file(environ: Mapping[str, str], name: str) -> str | None:
    """Read the URL in the file that a variable names. It is read once: the file may be gone later."""
    path = _read_path(environ, name)
    if path is None:
        return None
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RequestError(f"{name}: cannot read {path}: {reason}", next_step=_REMEDY.format(name=name)) from error
    url = _read_url({name: text}, name)
    if url is None:
        raise RequestError(f"{name}: {path} is empty", next_step="write a URL into it, or unset the variable")
    return url


def _read_name(environ: Mapping[str, str], name: str, pattern: str, expected: str) -> str | None:
    text = environ.get(name) or None
    if text is not None and (input_checks.why_unfit(text) or not names.fits(pattern, text)):
        raise RequestError(
            f"{name}={input_checks.shorten_value(text)} is not {expected}", next_step=_REMEDY.format(name=name)
        )
    return text


_BACKEND = rf"[a-z][a-z0-9+.-]{{0,20}}://{names.PATH}"
_REMEDY = "correct the variable {name}, or unset it"
