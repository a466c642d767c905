"""The engine's folders, program and environment, all separate from the user's own Pulumi installation."""

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
"""The first version that sends its events over gRPC, as the Automation API expects."""

PLUGIN = "aws"
GET_IT = "curl -fsSL https://get.pulumi.com | sh, then put ~/.pulumi/bin on PATH; or name it by PTP_HARNESS_PULUMI"
_VERSION_S, _INSTALL_S = 30.0, 900.0
_LOGS_STAY_S = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHome:
    """The engine's folder and command. `backend` is any backend that Pulumi knows; by default files in the folder.

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
        """The folder of the backend's files; None for a backend that is not made of files."""
        return Path(self.backend_url.removeprefix("file://")) if self.backend_url.startswith("file://") else None

    @property
    def passphrase(self) -> Path:
        return self.folder / "passphrase"

    def workspace(self, stack: str) -> Path:
        """Return the folder in which a stack's operations run, with the stack's Pulumi.yaml and configuration."""
        return self.folder / "stacks" / stack

    def environment(self) -> dict[str, str]:
        """Return the environment variables for the engine's processes, in addition to our own environment."""
        program = self.find()
        return {
            "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **self._quiet(),
            "PULUMI_BACKEND_URL": self.backend_url,
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.passphrase),
            "PULUMI_PYTHON_CMD": sys.executable,
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PYTHONPATH": os.pathsep.join([*_package_folder(), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def make(self, stack: str) -> Path:
        """Make the folders, the passphrase and the stack's project file, and return the stack's folder."""
        folders = (self.folder, self.folder / "home", self.folder / "stacks", self.workspace(stack))
        for folder in (*folders, self.backend_folder):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_passphrase()
        project = yaml.safe_load((self.project / "Pulumi.yaml").read_text())
        project |= {"main": str(self.project / "infra"), "runtime": {"name": "python", "options": {"toolchain": "pip"}}}
        project_file = self.workspace(stack) / "Pulumi.yaml"
        partial = project_file.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        partial.touch(mode=0o600)
        partial.write_text(yaml.safe_dump(project, sort_keys=False))
        partial.replace(project_file)
        return self.workspace(stack)

    def forget(self, stack: str) -> None:
        """Remove what is left of a stack after its removal: its folder, and the backups of a file backend."""
        shutil.rmtree(self.workspace(stack), ignore_errors=True)
        if self.backend_folder is not None:
            shutil.rmtree(self.backend_folder / ".pulumi/backups" / PROJECT / stack, ignore_errors=True)

    def find(self) -> Path:
        """Find the engine's program. Raises SetupError when there is none, or its name is not `pulumi`."""
        program = shutil.which(self.command or "pulumi")
        if program is None:
            raise SetupError(f"{self.command or 'pulumi'} is not installed: the ec2 bench needs it", next_step=GET_IT)
        if Path(program).name != "pulumi":
            raise SetupError(
                f"{program} is not named pulumi, the only name by which Pulumi's library finds it",
                next_step="have PTP_HARNESS_PULUMI name a program `pulumi`, in whichever folder",
            )
        return Path(program).absolute()

    def version(self) -> str:
        """Return the engine's version. Raises SetupError when the engine is missing, does not answer or is too old."""
        program = self.find()
        try:
            result = proc.run([str(program), "version"], timeout_s=_VERSION_S, env=self._quiet(), umask=0o077)
        except CommandError as error:
            raise SetupError(f"{program} does not work: {error.message}", next_step=GET_IT) from error
        text = result.stdout.strip()
        numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
        if numbers is None or tuple(map(int, numbers.groups())) < MINIMUM:
            minimum = ".".join(map(str, MINIMUM))
            raise SetupError(f"{program} is {text or 'of no version'}, and {minimum} is the least", next_step=GET_IT)
        return text

    def plugin(self) -> str | None:
        """Return the place of the AWS plugin in our SDK's version; None when it has not been fetched yet."""
        if any(entry.startswith(f"{PLUGIN}:") for entry in os.environ.get("PULUMI_DEBUG_PROVIDERS", "").split(",")):
            return "PULUMI_DEBUG_PROVIDERS"
        plugin_folder = self.folder / "home/plugins" / _plugin_name()
        if (plugin_folder / f"pulumi-resource-{PLUGIN}").exists():
            return str(plugin_folder)
        return shutil.which(f"pulumi-resource-{PLUGIN}")

    def fetch_plugin(self) -> str:
        """Get the AWS plugin: the user's own in the right version, else from Pulumi (some 200 MB, once).

        Raises SetupError.
        """
        if (place := self.plugin()) is not None:
            return place
        user_folder = Path.home() / ".pulumi/plugins" / _plugin_name()
        plugin_folder = self.folder / "home/plugins" / _plugin_name()
        if (user_folder / f"pulumi-resource-{PLUGIN}").exists():
            plugin_folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                plugin_folder.symlink_to(user_folder)
        else:
            argv = [str(self.find()), "plugin", "install", "resource", PLUGIN, _plugin_version()]
            try:
                proc.run(argv, timeout_s=_INSTALL_S, env=self.environment())
            except CommandError as error:
                raise SetupError(
                    f"Pulumi's AWS plugin {_plugin_version()} could not be fetched: {error.message}",
                    next_step="is there a way to the internet? Later: " + " ".join(argv),
                ) from error
        return str(plugin_folder)

    def forget_old_logs(self) -> None:
        """Delete the engine's logs that are older than a week: the engine writes one per command, and deletes none."""
        for log in (self.folder / "home/logs").glob("*.log"):
            with suppress(FileNotFoundError):  # another process was quicker
                if time.time() - log.stat().st_mtime > _LOGS_STAY_S:
                    log.unlink()

    def _quiet(self) -> dict[str, str]:
        """Return the variables that keep even `pulumi version` out of the user's folder and off the network."""
        return {"PULUMI_HOME": str(self.folder / "home"), "PULUMI_SKIP_UPDATE_CHECK": "true"}

    def _make_passphrase(self) -> None:
        """Make the passphrase that encrypts secrets in the state: once, readable by its owner alone.

        Two processes that do this at the same time end up with the same passphrase.
        """
        if self.passphrase.exists():
            return
        partial = self.passphrase.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(partial, self.passphrase)
        partial.unlink()


def load_engine_home(settings: Settings) -> EngineHome:
    """Return the EngineHome by the settings of an invocation."""
    return EngineHome(
        folder=settings.state_dir / "ec2",
        project=settings.assets_dir,
        backend=settings.pulumi_backend,
        command=settings.pulumi,
    )


def _package_folder() -> list[str]:
    """Return the folder that holds `harness`, for the Pulumi program, which may run in another folder than ours."""
    return [str(Path(__file__).parents[4])]


def _plugin_version() -> str:
    return importlib.metadata.version("pulumi-aws")


def _plugin_name() -> str:
    return f"resource-{PLUGIN}-v{_plugin_version()}"
