#!/usr/bin/python
"""Check that linuxptp's tools are installed, stop its units, and record whether ptp4l could run on the cards."""

from __future__ import annotations

import glob
import json
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ptp_host import (  # noqa: TID252  # found so in a role and in a collection
    UNIT_PROPERTIES,
    parse_units,
    run_program,
    text,
    unsettled_units,
    write,
)

DOCUMENTATION = r"""
module: linuxptp_tools
short_description: Look for linuxptp's tools, stop its clients, and record whether ptp4l can run
description:
  - Stops and disables units of linuxptp that would steer a clock beside chrony.
  - Records for each network card whether ptp4l with hardware timestamps can run on it, and why not.
options:
  tools:
    description: Programs that must be installed.
    type: list
    elements: str
    required: true
  units:
    description: Units, or patterns of them, that are stopped and disabled.
    type: list
    elements: str
    required: true
  record:
    description: File in which the result is recorded.
    type: path
    required: true
author:
  - PTP Harness (@ptp-harness)
"""

RETURN = r"""
missing:
  description: Tools that are not installed.
  returned: always
  type: list
  elements: str
stopped:
  description: Units that were stopped and disabled.
  returned: always
  type: list
  elements: str
record:
  description: The content of the record file.
  returned: always
  type: dict
"""

NEEDED_CAPABILITIES = ("hardware-transmit", "hardware-receive", "hardware-raw-clock")


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
    record = {"schema": 1, "tools": tools, "ptp4l": [check_card(module, name) for name in network_cards()]}
    written = write(module, params["record"], json.dumps(record, indent=1) + "\n")
    module.exit_json(
        changed=bool(written or stopped or missing),
        missing=missing,
        stopped=stopped,
        record=record,
    )


def stop_units(module: AnsibleModule, units: list[str]) -> list[str]:
    """Stop and disable the units that run, or would run after the next boot; return their names."""
    systemctl = module.get_bin_path("systemctl")
    if systemctl is None or not os.path.isdir("/run/systemd/system"):
        return []
    _, out, _ = run_program(module, [systemctl, "show", UNIT_PROPERTIES, *units])
    steering = unsettled_units(parse_units(out))
    if steering and not module.check_mode:
        run_program(module, [systemctl, "disable", "--now", *steering], check_rc=True)
    return steering


def network_cards() -> list[str]:
    """List network interfaces that belong to a device."""
    return [path.split("/")[4] for path in sorted(glob.glob("/sys/class/net/*/device"))]


def check_card(module: AnsibleModule, interface: str) -> dict:
    """Check for hardware timestamps in both directions and a clock that can be adjusted, as ptp4l needs them."""
    ethtool = module.get_bin_path("ethtool")
    out = run_program(module, [ethtool, "-T", interface])[1] if ethtool else ""
    reasons = list_obstacles(out, text) if out else ["ethtool does not say what the card can"]
    reason = "ptp4l: not applicable, " + " and ".join(reasons) if reasons else None
    return {"interface": interface, "applicable": not reasons if out else None, "reason": reason}


def list_obstacles(ethtool_output: str, read_text) -> list[str]:
    """List ptp4l's obstacles by `ethtool -T` and max_adjustment; newer kernels print a timestamp provider index."""
    index = re.search(
        r"^(?:PTP Hardware Clock|Hardware timestamp provider index): (\d+)$", ethtool_output, re.MULTILINE
    )
    if index is None:
        return ["the card has no PTP hardware clock"]
    reasons = []
    if read_text(f"/sys/class/ptp/ptp{index[1]}/max_adjustment").strip() in ("", "0"):
        reasons.append("the clock is read-only")
    missing_capabilities = [name for name in NEEDED_CAPABILITIES if name not in ethtool_output.split()]
    if "hardware-transmit" in missing_capabilities:
        reasons.append("there is no TX timestamping")
    elif missing_capabilities:
        reasons.append(f"the card lacks {', '.join(missing_capabilities)}")
    return reasons


if __name__ == "__main__":
    main()
