"""Run the stack's program: read the configuration, declare one precision host, export its outputs."""

import sys
from pathlib import Path

import pulumi

# Pulumi runs this folder, which is a package in its parent folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infra.defaults import complete_settings
from infra.precision_host import PrecisionHost
from infra.stack_settings import SettingsError, read

try:
    settings = complete_settings(
        read(pulumi.Config().get, region=pulumi.Config("aws").get("region")), stack=pulumi.get_stack()
    )
    host = PrecisionHost("host", settings)
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None

for name, value in host.outputs.items():
    pulumi.export(name, value)
