"""Where does the engine keep its things, and what is it told by its environment? Nothing of it is the user's own."""

import importlib.metadata
import os
import re
import secrets
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.benches.ec2.engine.stack import PROJECT
from harness.errors import CommandError, SetupError
from harness.system import proc
from harness.system.settings import Settings

MINIMUM = (3, 206, 0)
"""From here on the engine sends its events over gRPC, which the Automation API then expects."""

PLUGIN = "aws"
GET_IT = "curl -fsSL https://get.pulumi.com | sh, then put ~/.pulumi/bin on PATH; or name it by PTP_HARNESS_PULUMI"
_VERSION_S, _INSTALL_S = 30.0, 900.0
_LOGS_STAY_S = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHome:
    """The engine's folder and command. `backend` is any that Pulumi knows; by default files in the folder.

    `project` holds Pulumi.yaml and infra/. `command` is the engine's program; by default `pulumi` on PATH.
    """

    folder: Path
    project: Path
    backend: str | None = None
    command: str | None = None

    @property
    def backend_url(self) -> str:
        return self.backend or f"file://{self.folder / 'backend'}"

    @property
    def backend_folder(self) -> Path | None:
        """Where the backend's files are; None for one that is not made of files."""
        return Path(self.backend_url.removeprefix("file://")) if self.backend_url.startswith("file://") else None

    @property
    def passphrase(self) -> Path:
        return self.folder / "passphrase"

    def workspace(self, stack: str) -> Path:
        """The folder in which one stack's operations run: its Pulumi.yaml and its configuration."""
        return self.folder / "stacks" / stack

    def environment(self) -> dict[str, str]:
        """What the engine's processes get beside our own environment."""
        found = self.find()
        return {
            "PATH": f"{found.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **self._quiet(),
            "PULUMI_BACKEND_URL": self.backend_url,
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.passphrase),
            "PULUMI_PYTHON_CMD": sys.executable,
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PYTHONPATH": os.pathsep.join([*_package_folder(), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def make(self, stack: str) -> Path:
        """The folders, the passphrase and the stack's project file, where they are not there yet."""
        ours = (self.folder, self.folder / "home", self.folder / "stacks", self.workspace(stack))
        for folder in (*ours, self.backend_folder):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_passphrase()
        project = yaml.safe_load((self.project / "Pulumi.yaml").read_text())
        project |= {"main": str(self.project / "infra"), "runtime": {"name": "python", "options": {"toolchain": "pip"}}}
        written = self.workspace(stack) / "Pulumi.yaml"
        fresh = written.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(yaml.safe_dump(project, sort_keys=False))
        fresh.replace(written)
        return self.workspace(stack)

    def forget(self, stack: str) -> None:
        """Remove what stays of a stack after its removal: its folder, and the copies that a file backend keeps."""
        shutil.rmtree(self.workspace(stack), ignore_errors=True)
        if self.backend_folder is not None:
            shutil.rmtree(self.backend_folder / ".pulumi/backups" / PROJECT / stack, ignore_errors=True)

    def find(self) -> Path:
        """The engine's program. Raises SetupError when there is none."""
        found = shutil.which(self.command or "pulumi")
        if found is None:
            raise SetupError(f"{self.command or 'pulumi'} is not installed: the ec2 bench needs it", next_step=GET_IT)
        if Path(found).name != "pulumi":
            raise SetupError(
                f"{found} is not named pulumi, by which alone Pulumi's own library finds it",
                next_step="have PTP_HARNESS_PULUMI name a program `pulumi`, in whichever folder",
            )
        return Path(found).absolute()

    def version(self) -> str:
        """The engine's version. Raises SetupError when it is missing, does not answer or is too old."""
        found = self.find()
        try:
            said = proc.run([str(found), "version"], timeout_s=_VERSION_S, env=self._quiet(), umask=0o077)
        except CommandError as error:
            raise SetupError(f"{found} does not work: {error.message}", next_step=GET_IT) from error
        text = said.stdout.strip()
        parts = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
        if parts is None or tuple(map(int, parts.groups())) < MINIMUM:
            least = ".".join(map(str, MINIMUM))
            raise SetupError(f"{found} is {text or 'of no version'}, and {least} is the least", next_step=GET_IT)
        return text

    def plugin(self) -> str | None:
        """Where the AWS plugin of our SDK's version comes from; None when it is yet to be fetched."""
        if any(each.startswith(f"{PLUGIN}:") for each in os.environ.get("PULUMI_DEBUG_PROVIDERS", "").split(",")):
            return "PULUMI_DEBUG_PROVIDERS"
        ours = self.folder / "home/plugins" / _plugin_name()
        if (ours / f"pulumi-resource-{PLUGIN}").exists():
            return str(ours)
        return shutil.which(f"pulumi-resource-{PLUGIN}")

    def fetch_plugin(self) -> str:
        """Get the AWS plugin: the user's own when it is of the right version, else from Pulumi (some 200 MB, once)."""
        if (there := self.plugin()) is not None:
            return there
        theirs = Path.home() / ".pulumi/plugins" / _plugin_name()
        ours = self.folder / "home/plugins" / _plugin_name()
        if (theirs / f"pulumi-resource-{PLUGIN}").exists():
            ours.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                ours.symlink_to(theirs)
        else:
            argv = [str(self.find()), "plugin", "install", "resource", PLUGIN, _plugin_version()]
            try:
                proc.run(argv, timeout_s=_INSTALL_S, env=self.environment())
            except CommandError as error:
                raise SetupError(
                    f"Pulumi's AWS plugin {_plugin_version()} could not be fetched: {error.message}",
                    next_step="is there a way to the internet? Later: " + " ".join(argv),
                ) from error
        return str(ours)

    def forget_old_logs(self) -> None:
        """Delete the engine's logs of more than a week ago: it writes one for each command, and deletes none."""
        for log in (self.folder / "home/logs").glob("*.log"):
            with suppress(FileNotFoundError):  # another process was quicker
                if time.time() - log.stat().st_mtime > _LOGS_STAY_S:
                    log.unlink()

    def _quiet(self) -> dict[str, str]:
        """What keeps even `pulumi version` out of the user's own folder, and off the network."""
        return {"PULUMI_HOME": str(self.folder / "home"), "PULUMI_SKIP_UPDATE_CHECK": "true"}

    def _make_passphrase(self) -> None:
        """What encrypts the secrets in the state: made once, readable by us alone. Two that make it agree on one."""
        if self.passphrase.exists():
            return
        fresh = self.passphrase.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(fresh, self.passphrase)
        fresh.unlink()


def load_engine_home(settings: Settings) -> EngineHome:
    """The one of an invocation."""
    return EngineHome(
        folder=settings.state_dir / "ec2",
        project=settings.assets_dir,
        backend=settings.pulumi_backend,
        command=settings.pulumi,
    )


def _package_folder() -> list[str]:
    """The folder that holds `harness`, for the program, which may be run in another than ours."""
    return [str(Path(__file__).parents[4])]


def _plugin_version() -> str:
    return importlib.metadata.version("pulumi-aws")


def _plugin_name() -> str:
    return f"resource-{PLUGIN}-v{_plugin_version()}"
