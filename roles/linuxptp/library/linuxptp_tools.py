#!/usr/bin/python
"""Are linuxptp's tools here, does nothing of it steer a clock, and could ptp4l run on this host's cards?"""

from __future__ import annotations

import glob
import json
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ptp_host import UNIT_PROPERTIES, shown_units, text, unsettled_units, write  # noqa: TID252  # found so in a role and in a collection

DOCUMENTATION = r"""
module: linuxptp_tools
short_description: Look for linuxptp's tools, stop its clients, and record whether ptp4l can run
description:
  - Stops and disables units of linuxptp that would steer a clock beside chrony.
  - Records for each network card whether ptp4l with hardware timestamps can run on it, and why not.
options:
  tools:
    description: Programs that must be there.
    type: list
    elements: str
    required: true
  units:
    description: Units, or patterns of them, that are stopped and disabled.
    type: list
    elements: str
    required: true
  record:
    description: Where what was seen is written.
    type: path
    required: true
author:
  - PTP Harness (@ptp-harness)
"""

RETURN = r"""
missing:
  description: Tools that are not there.
  returned: always
  type: list
  elements: str
stopped:
  description: Units that were stopped and disabled.
  returned: always
  type: list
  elements: str
record:
  description: What was seen.
  returned: always
  type: dict
"""

NEEDED = ("hardware-transmit", "hardware-receive", "hardware-raw-clock")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "tools": {"type": "list", "elements": "str", "required": True},
            "units": {"type": "list", "elements": "str", "required": True},
            "record": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    tools = {name: module.get_bin_path(name) for name in params["tools"]}
    missing = [name for name, path in tools.items() if path is None]
    stopped = stop_units(module, params["units"]) if params["units"] else []
    record = {"schema": 1, "tools": tools, "ptp4l": [ptp4l(module, name) for name in cards()]}
    written = write(module, params["record"], json.dumps(record, indent=1) + "\n")
    module.exit_json(
        changed=bool(written or stopped or missing),
        missing=missing,
        stopped=stopped,
        record=record,
    )


def stop_units(module: AnsibleModule, units: list[str]) -> list[str]:
    """Stop and disable those that run or would at the next boot."""
    systemctl = module.get_bin_path("systemctl")
    if systemctl is None or not os.path.isdir("/run/systemd/system"):
        return []
    _, out, _ = module.run_command([systemctl, "show", UNIT_PROPERTIES, *units])
    steering = unsettled_units(shown_units(out))
    if steering and not module.check_mode:
        module.run_command([systemctl, "disable", "--now", *steering], check_rc=True)
    return steering


def cards() -> list[str]:
    """Network interfaces that are a device."""
    return [path.split("/")[4] for path in sorted(glob.glob("/sys/class/net/*/device"))]


def ptp4l(module: AnsibleModule, interface: str) -> dict:
    """Whether ptp4l with hardware timestamps can run on a card: it stamps both ways and its clock can be steered."""
    ethtool = module.get_bin_path("ethtool")
    out = module.run_command([ethtool, "-T", interface])[1] if ethtool else ""
    reasons = why_not(out, text) if out else ["ethtool does not say what the card can"]
    reason = "ptp4l: not applicable, " + " and ".join(reasons) if reasons else None
    return {"interface": interface, "applicable": not reasons if out else None, "reason": reason}


def why_not(said: str, read) -> list[str]:
    """From `ethtool -T` and the clock's max_adjustment. Newer kernels name the clock a provider with an index."""
    index = re.search(r"^(?:PTP Hardware Clock|Hardware timestamp provider index): (\d+)$", said, re.MULTILINE)
    if index is None:
        return ["the card has no PTP hardware clock"]
    reasons = []
    if read(f"/sys/class/ptp/ptp{index[1]}/max_adjustment").strip() in ("", "0"):
        reasons.append("the clock is read-only")
    lacking = [name for name in NEEDED if name not in said.split()]
    if "hardware-transmit" in lacking:
        reasons.append("there is no TX timestamping")
    elif lacking:
        reasons.append(f"the card lacks {', '.join(lacking)}")
    return reasons


if __name__ == "__main__":
    main()
