"""Complete empty settings with values of this machine, so that `pulumi up` needs few settings."""

import getpass
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

from harness.model.controller_address import CHECK_IP, CHECK_IP_S, MOST_BYTES, parse_network
from harness.model.ec2_enums import Access
from infra.stack_settings import ProgramSettings, SettingsError

_PUBLIC_KEYS = ("id_ed25519.pub", "id_rsa.pub")
_REFUSED_KEYS = ("id_ecdsa.pub", "id_ecdsa_sk.pub", "id_ed25519_sk.pub", "id_dsa.pub")
"""Keys that ssh offers too and that EC2 does not import (ImportKeyPair: RSA and ED25519 only)."""


def complete_settings(settings: ProgramSettings, *, stack: str) -> ProgramSettings:
    """The settings with every value that this machine can supply. Raises SettingsError for a value that it lacks."""
    host = settings.host or stack
    return replace(
        settings,
        host=host,
        token=settings.token or f"{settings.run}/{host}/1",
        owner=settings.owner or _owner(),
        public_key=settings.public_key or public_key(Path.home() / ".ssh"),
        host_key=settings.host_key or host_key(_state_dir() / "host-keys" / stack),
        controller_cidr=settings.controller_cidr or (own_address() if settings.access is Access.SSH else ""),
    )


def public_key(folder: Path) -> str:
    """The public key that the user's ssh offers first and EC2 imports. Raises SettingsError when there is none."""
    for name in _PUBLIC_KEYS:
        if (folder / name).is_file():
            return (folder / name).read_text().strip()
    refused = [name for name in _REFUSED_KEYS if (folder / name).is_file()]
    skipped = f"; {', '.join(refused)} cannot be used, since EC2 imports RSA and ED25519 keys only" if refused else ""
    raise SettingsError(
        f"publicKey: none of {', '.join(_PUBLIC_KEYS)} is in {folder}{skipped}: make one with `ssh-keygen -t ed25519`, "
        'or `pulumi config set publicKey "ssh-ed25519 AAAA..."`'
    )


def host_key(path: Path) -> str:
    """The private host key that this stack's host starts with: made once, then the same at each `up`.

    Raises SettingsError.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise SettingsError("hostKey: ssh-keygen is not installed (OpenSSH's client has it)") from None
        except subprocess.CalledProcessError as error:
            raise SettingsError(f"hostKey: ssh-keygen could not make {path}: {error.stderr.strip()}") from None
    return path.read_text()


def own_address(url: str = CHECK_IP) -> str:
    """The controller's public IPv4 address as a /32 network. Raises SettingsError."""
    remedy = "say it: `pulumi config set controllerCidr 192.0.2.7/32`"
    try:
        with urllib.request.urlopen(url, timeout=CHECK_IP_S) as answer:
            return parse_network(answer.read(MOST_BYTES))
    except ValueError as error:
        raise SettingsError(f"controllerCidr: {url} said {error}; {remedy}") from None
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise SettingsError(f"controllerCidr: {url} does not say our address ({reason}); {remedy}") from None


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _state_dir() -> Path:
    override = os.environ.get("PTP_HARNESS_STATE_DIR")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(override) if override else Path(home) / "ptp-harness"
