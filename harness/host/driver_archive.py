"""Check and download the driver that a campaign asks for, before any machine is made, by the role's own script."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.campaign.campaign import Campaign
from harness.campaign.choices import DriverChoice, DriverSource
from harness.errors import RequestError
from harness.model import Machine
from harness.model.bench_traits import BenchName
from harness.system import proc
from harness.system.settings import Settings
from harness.untrusted import names

_DEADLINE_S = 300.0
_AMI = r"ami-[0-9a-f]{8,32}"


def ensure(choice: DriverChoice, settings: Settings) -> DriverChoice:
    """Download the archive if needed and return the choice with its checksum. Raises RequestError when unusable."""
    if choice.source is DriverSource.DISTRIBUTION:
        return choice
    resolved = replace(choice, value=_absolute(choice))
    _refuse_password(str(resolved.value))
    # Option and value are one argument: a value that begins with "-" does not become an option.
    arguments = [f"--{resolved.source.value}={resolved.value}", f"--cache={_cache(settings)}/archives"]
    arguments += [f"--sha256={resolved.sha256}"] if resolved.sha256 else []
    arguments += [f"--host={host}" for host in settings.archive_hosts]
    script = settings.assets_dir / "roles/ena_driver/files/ena_archive.py"
    completed = proc.run([sys.executable, str(script), *arguments], timeout_s=_DEADLINE_S, check=False)
    if completed.status != 0:
        raise RequestError(completed.stderr.strip() or f"{script.name} ended with status {completed.status}")
    return replace(resolved, sha256=json.loads(completed.stdout)["sha256"])


def role_variables(campaign: Campaign, machine: Machine, settings: Settings) -> Mapping[str, Any]:
    """Build the variables of the role ena_driver for the campaign's driver and this machine."""
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
    """Name the folder of kernel modules built on equally trusted hosts; an empty string: modules are not kept.

    Root of one host provides the module for other hosts. So only hosts that the harness made of the same image share
    modules: all hosts of the lab, and the instances of one AMI. Hosts of an inventory share nothing.
    """
    if bench == BenchName.LAB:
        return f"{_cache(settings)}/modules/lab"
    if bench == BenchName.EC2 and names.fits(_AMI, machine.image or ""):
        return f"{_cache(settings)}/modules/ec2-{machine.image}"
    return ""


def _refuse_password(value: str) -> None:
    """Raise RequestError for a user name or password in a URL, which ledger, evidence and process arguments show."""
    if "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        raise RequestError(
            "the URL of the driver archive has a user name or password in it, which would be kept in records and logs",
            next_step="download the archive by yourself and name the file",
        )


def _absolute(choice: DriverChoice) -> str | None:
    """Make the path of an archive absolute, since Ansible works in another directory. URLs stay as they are."""
    value = choice.value
    if choice.source is not DriverSource.ARCHIVE or value is None or "://" in value:
        return value
    return str(Path(value).expanduser().absolute())


def _cache(settings: Settings) -> str:
    return str(settings.cache_dir / "ena")
