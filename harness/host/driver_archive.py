"""Is the driver that a campaign asks for at hand, before any machine is made? The role's own script says so."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.campaign.campaign import Campaign, DriverChoice, DriverSource
from harness.errors import RequestError
from harness.model import Machine
from harness.system import proc
from harness.system.settings import Settings
from harness.untrusted import names

_DEADLINE_S = 300.0
_AMI = r"ami-[0-9a-f]{8,32}"


def ensure(choice: DriverChoice, settings: Settings) -> DriverChoice:
    """The choice with its checksum, its archive downloaded if need be. Raises RequestError when it cannot be used."""
    if choice.source is DriverSource.DISTRIBUTION:
        return choice
    asked = replace(choice, value=_absolute(choice))
    _refuse_password(str(asked.value))
    # One word each: a value that begins with "-" does not become an option.
    words = [f"--{asked.source.value}={asked.value}", f"--cache={_cache(settings)}/archives"]
    words += [f"--sha256={asked.sha256}"] if asked.sha256 else []
    script = settings.assets_dir / "roles/ena_driver/files/ena_archive.py"
    done = proc.run([sys.executable, str(script), *words], timeout_s=_DEADLINE_S, check=False)
    if done.status != 0:
        raise RequestError(done.stderr.strip() or f"{script.name} ended with status {done.status}")
    return replace(asked, sha256=json.loads(done.stdout)["sha256"])


def role_variables(campaign: Campaign, machine: Machine, settings: Settings) -> Mapping[str, Any]:
    """What the role ena_driver is told of the campaign's driver, for this machine."""
    choice = campaign.driver
    if choice.source is DriverSource.DISTRIBUTION:
        return {}
    return {
        "ena_driver_source": choice.source.value,
        f"ena_driver_{choice.source.value}": choice.value,
        "ena_driver_sha256": choice.sha256 or "",
        "ena_driver_cache": _cache(settings),
        "ena_driver_modules_cache": _modules_cache(settings, campaign.bench, machine),
        "ena_driver_modules_origin": str(machine.token),
    }


def _modules_cache(settings: Settings, bench: str, machine: Machine) -> str:
    """The folder of kernel modules that were built on hosts that are trusted like this one; empty: none is kept.

    Root of one host gives the module to the others. So hosts share modules only where we made them ourselves, of the
    same image: all hosts of the lab, the instances of one AMI. Hosts of an inventory share nothing.
    """
    if bench == "lab":
        return f"{_cache(settings)}/modules/lab"
    if bench == "ec2" and names.fits(_AMI, machine.image or ""):
        return f"{_cache(settings)}/modules/ec2-{machine.image}"
    return ""


def _refuse_password(value: str) -> None:
    """Refuse a user name or password in a URL: the URL is kept in ledger, evidence and the arguments of processes."""
    if "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        raise RequestError(
            "the URL of the driver archive has a user name or password in it, which would be kept in records and logs",
            next_step="download the archive by yourself and name the file",
        )


def _absolute(choice: DriverChoice) -> str | None:
    """A path as it is from everywhere: Ansible works in a directory of its own."""
    value = choice.value
    if choice.source is not DriverSource.ARCHIVE or value is None or "://" in value:
        return value
    return str(Path(value).expanduser().absolute())


def _cache(settings: Settings) -> str:
    return str(settings.cache_dir / "ena")
