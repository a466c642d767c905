"""Read the settings of a pod: what the secret of its namespace holds, beside its variables."""

import os
from collections.abc import Mapping
from pathlib import Path

from harness.campaign.campaign import Campaign
from harness.cluster.jobs import SECRET, SECRET_FOLDER, SIGNING_KEY
from harness.errors import RequestError
from harness.model.bench_traits import traits_of
from harness.system import settings
from harness.system.settings import Settings


def load(environ: Mapping[str, str] = os.environ, secret: Path = Path(SECRET_FOLDER)) -> Settings:
    """Read the settings as `settings.load`, with the signing key of the secret unless a variable names another one."""
    key = secret / SIGNING_KEY
    named = {settings.SIGNING_KEY: str(key)} if key.exists() else {}
    return settings.load({**named, **environ})


def load_what_is_there(environ: Mapping[str, str] = os.environ, secret: Path = Path(SECRET_FOLDER)) -> Settings:
    """Read the settings as `load` where the secret may lack its key of the ledger: then none is set."""
    there = {**environ}
    file = there.get(settings.LEDGER_URL_FILE)
    if file is not None and not Path(file).exists():
        del there[settings.LEDGER_URL_FILE]
    return load(there, secret)


def require_signing_key(campaign: Campaign, configuration: Settings) -> None:
    """Raise RequestError where pods would sign what they make in a cloud each with a key of its own.

    Then nobody could prove that the instances of a pod that is gone are ours, and they would be left running.
    """
    if traits_of(campaign.bench).cloud and configuration.signing_key is None:
        raise RequestError(
            f"the secret {SECRET} has no key {SIGNING_KEY}, by which all pods prove that an instance is ours",
            next_step=f"`openssl rand -hex 32 > {SIGNING_KEY}`, and make the secret with --from-file={SIGNING_KEY}",
        )
