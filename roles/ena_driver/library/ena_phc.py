#!/usr/bin/python
"""Switch the ENA driver's clock on, keep it on over reboots, and return the record of it.

This is one module and not several tasks, because each task costs seconds on a distant or emulated host.
"""

from __future__ import annotations

import errno
import json
import os
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ptp_host import read_json, run_program, write  # noqa: TID252  # found so in a role and in a collection

DOCUMENTATION = r"""
module: ena_phc
short_description: Switch an ENA network card's PTP hardware clock on and keep it on
description:
  - Runs the given script, which probes the driver, switches the clock on and records the result.
  - Installs the files that keep the clock on over reboots, and the link C(/dev/ptp_ena).
  - A host whose driver or device has no clock is a result, not a failure.
  - Where the ENA card carries the connection, the reload is left to systemd and C(pending) is returned; wait for the
    connection and call again.
options:
  script:
    description: Text of the script that probes, switches and records.
    type: str
    required: true
  script_path:
    description: File in which the script is kept for the next boot.
    type: path
    required: true
  record:
    description: File in which the script records the result.
    type: path
    required: true
  link_rules:
    description: Path and text of the udev rules that make the link to the clock.
    type: dict
    required: true
  boot_rules:
    description: Path and text of the udev rules that start the unit when an ENA interface appears.
    type: dict
    required: true
  unit:
    description: Path and text of the systemd unit that runs the script.
    type: dict
    required: true
  module_options:
    description: Path and text of the modprobe configuration.
    type: dict
    required: true
  module_installed:
    description: Another module has just been installed, so the initramfs must be rebuilt with it.
    type: bool
    default: false
  after_reload:
    description: The module has returned C(pending) before. It waits for that reload's end, and asks for no other one.
    type: bool
    default: false
author:
  - PTP Harness (@ptp-harness)
"""

RETURN = r"""
record:
  description: The script's record; null while pending, and in check mode before a first run.
  returned: always
  type: dict
plan:
  description: The host's state and the script's plan before any change.
  returned: always
  type: dict
written:
  description: Files that were created or changed.
  returned: always
  type: list
  elements: str
pending:
  description: The reload has been left to systemd because it cuts the connection.
  returned: always
  type: bool
"""

LINK = "/dev/ptp_ena"
RELOAD = "ptp-harness-ena-reload"  # the timer and the service that systemd-run makes
RELOAD_REQUEST = f"/run/{RELOAD}"  # a file as old as the request: an earlier record is not the reload's
RELOAD_DEADLINE_S = 90.0


def main() -> None:
    text_file = {"type": "dict", "required": True, "options": {"path": {"type": "path"}, "text": {"type": "str"}}}
    module = AnsibleModule(
        argument_spec={
            "script": {"type": "str", "required": True},
            "script_path": {"type": "path", "required": True},
            "record": {"type": "path", "required": True},
            "link_rules": text_file,
            "boot_rules": text_file,
            "unit": text_file,
            "module_options": text_file,
            "module_installed": {"type": "bool", "default": False},
            "after_reload": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    known = read_reload_record(module) if module.params["after_reload"] else None
    plan = run_script(module, "--plan")
    plan["known"] = known or plan["known"]
    written = write_all(module, select_files(module.params, plan))
    needs_script = plan["known"] is None
    if module.check_mode:
        module.exit_json(
            changed=bool(written) or needs_script, plan=plan, record=plan["known"], written=written, pending=False
        )
    apply_files(module, written)
    pending = (
        needs_script and bool(plan["commands"]) and carries_connection(plan) and os.path.isdir("/run/systemd/system")
    )
    if pending:
        schedule_by_systemd(module)
    record = None if pending else run_script(module) if needs_script else plan["known"]
    if record and record["clock"]:
        wait_for_link(module)
    module.exit_json(changed=bool(written) or needs_script, plan=plan, record=record, written=written, pending=pending)


def select_files(params: dict, plan: dict) -> list[tuple[str, str]]:
    """Select the files that keep the host's clock on, as (path, text); none when the driver cannot have a clock."""
    host = plan["host"]
    by_parameter, by_devlink = host["parameter"] is not None, bool(host["devlink"])
    files = []
    if by_parameter or by_devlink or host["clock"]:
        files.append((params["link_rules"]["path"], params["link_rules"]["text"]))
    if by_parameter:
        files.append((params["module_options"]["path"], params["module_options"]["text"]))
    if by_parameter or by_devlink:
        files.append((params["script_path"], params["script"]))
        files.append((params["unit"]["path"], params["unit"]["text"]))
    if by_devlink:
        files.append((params["boot_rules"]["path"], params["boot_rules"]["text"]))
    return files


def run_script(module: AnsibleModule, *flags: str) -> dict:
    """Run the script from standard input, so that probing leaves no file on the host; return its JSON."""
    argv = [module.get_bin_path("python3", required=True), "-", "--record", module.params["record"], *flags]
    rc, out, err = run_program(module, argv, data=module.params["script"])
    if rc != 0:
        module.fail_json(
            msg=f"the ENA clock script ended with status {rc}: {err.strip()[-500:]}", stdout=out, stderr=err
        )
    return json.loads(out)


def write_all(module: AnsibleModule, files: list[tuple[str, str]]) -> list[str]:
    """Write the files that differ; return their paths. Fails the task with read_only_files on such a file system."""
    try:
        return [path for path, text in files if write(module, path, text)]
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        module.fail_json(msg=f"{error.filename} cannot be written: {os.strerror(errno.EROFS)}", read_only_files=True)


def apply_files(module: AnsibleModule, written: list[str]) -> None:
    """Make udev, systemd and the initramfs use the written files."""
    params = module.params
    if params["link_rules"]["path"] in written or params["boot_rules"]["path"] in written:
        run_tool(module, "udevadm", "control", "--reload")
        run_tool(module, "udevadm", "trigger", "--action=change", "--subsystem-match=ptp")
    unit = os.path.basename(params["unit"]["path"])
    if params["unit"]["path"] in written and "yes" in run_tool(
        module, "systemctl", "show", "--property=NeedDaemonReload", unit
    ):
        run_tool(module, "systemctl", "daemon-reload")
    if params["module_options"]["path"] in written or params["module_installed"]:
        debian = module.get_bin_path("update-initramfs") is not None
        run_tool(module, *(("update-initramfs", "-u") if debian else ("dracut", "--force")))


def run_tool(module: AnsibleModule, name: str, *arguments: str) -> str:
    """Run a system tool and return its output; "" when it is not installed. Fails the task when the tool fails."""
    path = module.get_bin_path(name)
    return run_program(module, [path, *arguments], check_rc=True)[1] if path is not None else ""


def carries_connection(plan: dict) -> bool:
    return any(device["carries"] for device in plan["host"]["devices"].values())


def schedule_by_systemd(module: AnsibleModule) -> None:
    """Let systemd reload the driver in two seconds, independently of this connection, which the reload cuts."""
    with open(RELOAD_REQUEST, "w", encoding="ascii"):
        pass
    if is_reloading(module):  # for a play that has ended since
        return
    unit = os.path.basename(module.params["unit"]["path"])
    run_tool(
        module,
        "systemd-run",
        "--collect",
        f"--unit={RELOAD}",
        "--on-active=2s",
        "--timer-property=AccuracySec=100ms",
        "systemctl",
        "start",
        unit,
    )


def is_reloading(module: AnsibleModule) -> bool:
    """Tell whether systemd does a reload, or will do it."""
    argv = [module.get_bin_path("systemctl", required=True), "is-active", f"{RELOAD}.timer", f"{RELOAD}.service"]
    return not {"active", "activating"}.isdisjoint(run_program(module, argv)[1].split())


def read_reload_record(module: AnsibleModule) -> dict:
    """Wait until systemd has done the reload, and return its record. Fails the task when there is none.

    A host may answer before the reload begins. This connection usually outlives it: the host's address comes back.
    """
    give_up = time.monotonic() + RELOAD_DEADLINE_S
    while is_reloading(module) and time.monotonic() < give_up:
        time.sleep(0.5)
    record = read_newer(module.params["record"], RELOAD_REQUEST)
    if record is None:
        unit = os.path.basename(module.params["unit"]["path"])
        logs = f"journalctl -u {unit} -u {RELOAD}.service"
        module.fail_json(msg=f"systemd was to reload the ENA driver, and has left no record of it; `{logs}` says why")
    return record


def read_newer(path: str, other: str) -> dict | None:
    """Read a JSON file that is not older than another file; None when there is none."""
    try:
        newer = os.stat(path).st_mtime_ns >= os.stat(other).st_mtime_ns
    except OSError:
        return None
    return read_json(path) if newer else None


def wait_for_link(module: AnsibleModule) -> None:
    """Return once udev has made the link, or warn that it has not."""
    run_tool(module, "udevadm", "settle", "--timeout=10", f"--exit-if-exists={LINK}")
    if not os.path.exists(LINK):
        module.warn(f"the clock is there, but udev made no link {LINK}")


if __name__ == "__main__":
    main()
