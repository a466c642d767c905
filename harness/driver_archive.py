"""Is the driver that a campaign asks for at hand, before any machine is made? The role's own script says so."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import proc
from harness.campaign import DriverChoice, DriverSource
from harness.errors import RequestError
from harness.settings import Settings

_DEADLINE_S = 300.0


def ensure(choice: DriverChoice, settings: Settings) -> DriverChoice:
    """The choice with its checksum, its archive downloaded if need be. Raises RequestError when it cannot be used."""
    if choice.source is DriverSource.DISTRIBUTION:
        return choice
    asked = replace(choice, value=_absolute(choice))
    words = [f"--{asked.source.value}", str(asked.value), "--cache", f"{_cache(settings)}/archives"]
    words += ["--sha256", asked.sha256] if asked.sha256 else []
    script = settings.assets_dir / "roles/ena_driver/files/ena_archive.py"
    done = proc.run([sys.executable, str(script), *words], timeout_s=_DEADLINE_S, check=False)
    if done.status != 0:
        raise RequestError(done.stderr.strip() or f"{script.name} ended with status {done.status}")
    return replace(asked, sha256=json.loads(done.stdout)["sha256"])


def role_variables(choice: DriverChoice, settings: Settings) -> Mapping[str, Any]:
    """What the role ena_driver is told."""
    if choice.source is DriverSource.DISTRIBUTION:
        return {}
    return {
        "ena_driver_source": choice.source.value,
        f"ena_driver_{choice.source.value}": choice.value,
        "ena_driver_sha256": choice.sha256 or "",
        "ena_driver_cache": _cache(settings),
    }


def _absolute(choice: DriverChoice) -> str | None:
    """A path as it is from everywhere: Ansible works in a directory of its own."""
    value = choice.value
    if choice.source is not DriverSource.ARCHIVE or value is None or "://" in value:
        return value
    return str(Path(value).expanduser().absolute())


def _cache(settings: Settings) -> str:
    return str(settings.cache_dir / "ena")
