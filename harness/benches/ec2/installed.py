"""Is the pulumi command here, which the ec2 bench runs, and is it new enough? Also its AWS plugin."""

import importlib.metadata
import json
import re
import shutil

from harness import proc
from harness.errors import CommandError, SetupError

LEAST = (3, 206, 0)
"""From here on the engine tells its events in the way that the Automation API of our SDK reads."""

GET_IT = "curl -fsSL https://get.pulumi.com | sh, then put ~/.pulumi/bin on PATH; or name it by PTP_HARNESS_PULUMI"
_DEADLINE_S = 60.0
_QUIET = {"PULUMI_SKIP_UPDATE_CHECK": "true"}


class Installed:
    """The command of that name or path; by default `pulumi` on PATH."""

    def __init__(self, command: str | None) -> None:
        self._command = command or "pulumi"

    def find(self) -> str:
        """Where it is. Raises SetupError."""
        found = shutil.which(self._command)
        if found is None:
            raise SetupError(f"{self._command} is not there, and the ec2 bench runs it", next_step=GET_IT)
        return found

    def version(self) -> str:
        """Its version and path. Raises SetupError when it is missing, does not work or is too old."""
        found = self.find()
        try:
            said = proc.run([found, "version"], timeout_s=_DEADLINE_S, env=_QUIET).stdout.strip()
        except (CommandError, SetupError) as error:
            raise SetupError(f"{found} does not work: {error.message}", next_step=GET_IT) from error
        parts = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said)
        if parts is None or tuple(map(int, parts.groups())) < LEAST:
            least = ".".join(map(str, LEAST))
            raise SetupError(
                f"{found} is too old: {said or 'of no version'}, and {least} is the least", next_step=GET_IT
            )
        return f"{said}, {found}"

    def plugin(self) -> str | None:
        """The version of the AWS plugin, which must be that of our SDK; None when it is yet to be fetched."""
        try:
            wanted = importlib.metadata.version("pulumi-aws")
            said = proc.run([self.find(), "plugin", "ls", "--json"], timeout_s=_DEADLINE_S, env=_QUIET).stdout
            have = [one["version"] for one in json.loads(said) if one["name"] == "aws" and one["kind"] == "resource"]
        except importlib.metadata.PackageNotFoundError as error:
            raise SetupError(
                "the Python package pulumi-aws is not installed", next_step="`pip install pulumi pulumi-aws`"
            ) from error
        except (CommandError, ValueError, KeyError) as error:
            raise SetupError(f"pulumi does not list its plugins: {error}", next_step=GET_IT) from error
        return wanted if wanted in have else None
