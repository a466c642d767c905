#!/usr/bin/python
"""Make the PTP hardware clock chrony's only source, wait for synchronisation, and record how long it took.

This is one module and not several tasks, because each task costs seconds on a distant or emulated host.
"""

from __future__ import annotations

import json
import os
import re
import shutil

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ptp_host import (  # noqa: TID252  # found so in a role and in a collection
    UNIT_PROPERTIES,
    parse_units,
    read_json,
    read_phc,
    run_program,
    text,
    unsettled_units,
    write,
)

DOCUMENTATION = r"""
module: chrony_phc
short_description: Make a PTP hardware clock chrony's source and wait for synchronisation
description:
  - Writes chrony's configuration, checked by chronyd itself, and orders the service after the clock's device.
  - Stops and disables other daemons that would steer the system clock.
  - Starts chronyd again where it drops nearly all of the clock's readings, or where a reading refutes its error bound.
  - Without a clock it records that and leaves everything unchanged.
options:
  device:
    description: The clock's device.
    type: path
    required: true
  link_rules:
    description: Text of udev rules that make the device a link to the clock; empty when another role makes it.
    type: str
    default: ''
  service:
    description: chrony's unit on this platform.
    type: str
    required: true
  config_path:
    description: chrony's configuration file on this platform.
    type: path
    required: true
  config:
    description: Text of chrony's configuration.
    type: str
    required: true
  service_dropin:
    description: Text of the drop-in for chrony's unit.
    type: str
    required: true
  device_dropin:
    description: Text of the drop-in for the device's unit.
    type: str
    required: true
  device_unit:
    description: Name of the device's unit.
    type: str
    required: true
  competitors:
    description: Units, or patterns of them, that are stopped and disabled.
    type: list
    elements: str
    required: true
  second_opinion:
    description: The NTP server in the configuration, for the record.
    type: str
    required: true
  wait_s:
    description: Seconds to wait for synchronisation.
    type: int
    required: true
  settled_correction_s:
    description: Remaining correction in seconds at which synchronisation counts as reached.
    type: float
    required: true
  settled_skew_ppm:
    description: Error bound on the system clock's frequency, in ppm, at which synchronisation counts as reached.
    type: float
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
  description: There is a clock, but no chronyd.
  returned: always
  type: bool
written:
  description: Files that were created or changed.
  returned: always
  type: list
  elements: str
stopped:
  description: Units that were stopped and disabled.
  returned: always
  type: list
  elements: str
restarted:
  description: Whether chronyd was restarted.
  returned: always
  type: bool
record:
  description: The content of the record file.
  returned: always
  type: dict
"""

ORIGINAL = ".ptp-harness-original"
FIRST_WAIT_S = 20  # by then a chronyd that accepts the clock's readings has synchronised, or is about to
MOST_STARTS = 3
STARTS_WITHIN_S = 3  # until chronyd's first poll of the clock
LINK_RULES = "/etc/udev/rules.d/53-ptp-chrony.rules"
LINK_RULE = re.compile(r'SUBSYSTEM=="ptp", ATTR\{clock_name\}=="[^"\\]*", SYMLINK\+="ptp_chrony", TAG\+="systemd"')
NAME_PATTERNS = {
    "device": re.compile(r"/[A-Za-z0-9_.+:@/-]+"),
    "device_unit": re.compile(r"[A-Za-z0-9_.+:@\\-]+\.device"),
    "service": re.compile(r"[A-Za-z0-9_.:@-]+\.service"),
}
"""Parameter -> pattern of its values, which become parts of paths and arguments."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "link_rules": {"type": "str", "default": ""},
            "service": {"type": "str", "required": True},
            "config_path": {"type": "path", "required": True},
            "config": {"type": "str", "required": True},
            "service_dropin": {"type": "str", "required": True},
            "device_dropin": {"type": "str", "required": True},
            "device_unit": {"type": "str", "required": True},
            "competitors": {"type": "list", "elements": "str", "required": True},
            "second_opinion": {"type": "str", "required": True},
            "wait_s": {"type": "int", "required": True},
            "settled_correction_s": {"type": "float", "required": True},
            "settled_skew_ppm": {"type": "float", "required": True},
            "record": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    check_params(module)
    result = {"missing": False, "written": link_clock(module), "stopped": [], "restarted": False}
    if not os.path.exists(module.params["device"]):
        record = record_no_clock(module)
        result["written"] += write(module, module.params["record"], to_json(record))
        module.exit_json(changed=bool(result["written"]), record=record, **result)
    if module.get_bin_path("chronyd") is None:
        module.exit_json(changed=True, record=None, **{**result, "missing": True})
    configure_and_wait(module, result)


def check_params(module: AnsibleModule) -> None:
    """Fail the task when a name does not match its pattern, or when the udev rules do more than make the link."""
    for name, pattern in NAME_PATTERNS.items():
        if not pattern.fullmatch(module.params[name]):
            module.fail_json(msg=f"{name} cannot be {module.params[name][:100]!r}")
    lines = module.params["link_rules"].split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    plain = all(line.isprintable() for line in lines)  # udev ends a line at a carriage return too
    if not plain or len(rules) > 1 or not all(LINK_RULE.fullmatch(rule) for rule in rules):
        module.fail_json(msg=f"link_rules must be one rule that makes the link, got: {rules[:2]!r}"[:500])


def configure_and_wait(module: AnsibleModule, result: dict) -> None:
    """Configure chrony, stop competing daemons, restart chronyd after any change, wait for synchronisation, record."""
    params, service = module.params, module.params["service"]
    written = write_config(module, params["config_path"], params["config"])
    dropins = write(module, f"/etc/systemd/system/{service}.d/ptp-harness.conf", params["service_dropin"])
    dropins += write(module, f"/etc/systemd/system/{params['device_unit']}.d/ptp-harness.conf", params["device_dropin"])
    stopped = stop_competitors(module, params["competitors"])
    unit = show_units(module, [service])[0]
    restarts = bool(written or dropins or stopped) or unit["ActiveState"] != "active" or holds_lost_device(unit)
    if module.check_mode:
        result.update(written=result["written"] + written + dropins, stopped=stopped, restarted=restarts)
        module.exit_json(changed=restarts, record=read_json(params["record"]), **result)
    if unit["UnitFileState"] != "enabled":
        # SYSTEMCTL_SKIP_SYSV: the hooks for System V scripts take seconds and change nothing under systemd.
        systemctl(module, "enable", "--no-reload", service, environment={"SYSTEMCTL_SKIP_SYSV": "1"})
    if dropins:
        systemctl(module, "daemon-reload")
    start_error = restart(module, service) if restarts else ""
    record = None if restarts else valid_record(read_json(params["record"]))
    if not start_error and (record is None or is_misled(module, service)):
        record, started_again, start_error = wait_with_restarts(module, service)
        restarts = restarts or started_again
    if start_error:
        failure = f"chronyd does not start: {start_error}"
        record = build_record(module, waited=True, command=None, output=start_error, failure=failure)
    written += result["written"] + dropins + write(module, params["record"], to_json(record))
    result.update(written=written, stopped=stopped, restarted=restarts)
    module.exit_json(changed=bool(written or stopped or restarts), record=record, **result)


def link_clock(module: AnsibleModule) -> list[str]:
    """Let udev make the device a link to the clock; return the files written for that."""
    written = write(module, LINK_RULES, module.params["link_rules"]) if module.params["link_rules"] else []
    if written and not module.check_mode:
        udevadm = module.get_bin_path("udevadm", required=True)
        run_program(module, [udevadm, "control", "--reload"], check_rc=True)
        run_program(module, [udevadm, "trigger", "--settle", "--action=change", "--subsystem-match=ptp"], check_rc=True)
    return written


# --- chrony ----------------------------------------------------------------------------------------------------------


def write_config(module: AnsibleModule, path: str, config: str) -> list[str]:
    """Write the configuration once chronyd itself accepts it; keep the distribution's original file beside it."""
    if text(path) == config:
        return []
    # In the same folder as the real one: AppArmor lets chronyd read nothing elsewhere.
    candidate = path + ".new"
    if not module.check_mode:
        with open(candidate, "w", encoding="utf-8") as file:
            file.write(config)
        os.chmod(candidate, 0o644)
        rc, out, err = run_program(module, [module.get_bin_path("chronyd"), "-p", "-f", candidate])
        if rc != 0:
            os.unlink(candidate)
            module.fail_json(msg=f"chronyd does not accept the configuration: {(err or out).strip()[-500:]}")
        if os.path.exists(path) and not os.path.exists(path + ORIGINAL):
            shutil.copy2(path, path + ORIGINAL)
        module.atomic_move(candidate, path)
    return [path]


def wait_with_restarts(module: AnsibleModule, service: str) -> tuple[dict, bool, str]:
    """Wait for chronyd to synchronise, starting it again where it is misled: (record, started again, start error).

    chronyd before 4.7 accepts only readings about as slow as those that it has learned. It starts from its very first
    two readings and adapts in steps of nanoseconds (its hwclock.c, quantiles.c). Unlucky first readings make it drop
    nearly all readings of a good clock for minutes, or accept only its slow ones, whose time is uncertain by more than
    its bound says. Another start gives it two new first readings.
    """
    seconds = module.params["wait_s"]
    first_wait_s = min(FIRST_WAIT_S, seconds)
    record, starts, start_error = wait_for_sync(module, service, first_wait_s), 1, ""
    while starts < MOST_STARTS and not start_error and is_misled(module, service):
        start_error = restart(module, service)
        record, starts = wait_for_sync(module, service, first_wait_s), starts + 1
    if not start_error and not record["converged"] and seconds > first_wait_s:
        record = wait_for_sync(module, service, seconds - first_wait_s)
    return {**record, "starts": starts}, starts > 1, start_error


def is_misled(module: AnsibleModule, service: str) -> bool:
    """Tell whether chronyd drops the clock's readings, or a reading of our own refutes its error bound."""
    if drops_readings(module, service):
        return True
    try:
        before_ns, phc_ns, after_ns = read_phc(module.params["device"])
    except OSError:
        return False
    tracking = run_program(module, ["chronyc", "-n", "-c", "tracking"])[1]
    return bound_refuted(tracking, before_ns - phc_ns, after_ns - phc_ns)


def bound_refuted(tracking: str, low_ns: int, high_ns: int) -> bool:
    """Tell whether system clock minus PHC, which lies within low and high, is outside the bound of chronyc's tracking.

    The bound is |system time| + root dispersion + root delay / 2 (chronyc(1)).
    """
    fields = tracking.strip().split(",")
    if len(fields) != 14 or not fields[1].startswith("PHC"):
        return False
    bound_ns = (abs(float(fields[4])) + float(fields[11]) + float(fields[10]) / 2) * 1e9
    return max(low_ns, -high_ns) > bound_ns


def drops_readings(module: AnsibleModule, service: str) -> bool:
    sources = run_program(module, ["chronyc", "-n", "-c", "sources"])[1]
    return most_readings_dropped(sources, process_age_s(show_units(module, [service])[0]["MainPID"]))


def most_readings_dropped(sources: str, age_s: float) -> bool:
    """Tell whether chronyd got a sample in fewer than half of its last polls of the clock (eight, or all so far)."""
    clock = next((line.split(",") for line in sources.splitlines() if line.startswith("#,")), None)
    if clock is None:
        return False
    poll, reach = int(clock[4]), int(clock[5], 8)
    polls = int((age_s - STARTS_WITHIN_S) / 2**poll)
    return bin(reach).count("1") < min(polls, 8) // 2


def wait_for_sync(module: AnsibleModule, service: str, seconds: int) -> dict:
    """Run `chronyc waitsync` and build the record; converged_after_s counts from chronyd's start."""
    params = module.params
    thresholds = [f"{params['settled_correction_s']:f}", f"{params['settled_skew_ppm']:f}"]
    command = ["chronyc", "-n", "waitsync", str(seconds), *thresholds, "1"]
    rc, out, err = run_program(module, command)
    synchronised_after_s = process_age_s(show_units(module, [service])[0]["MainPID"])
    record = build_record(module, waited=True, command=" ".join(command), output=out + err, failure=None)
    return {**record, "converged": True, "converged_after_s": synchronised_after_s} if rc == 0 else record


def restart(module: AnsibleModule, service: str) -> str:
    """Restart chronyd; return the error, or "". A failed start is a result about this host, so the task goes on."""
    rc, _, err = run_program(module, [module.get_bin_path("systemctl", required=True), "restart", service])
    if rc == 0:
        return ""
    log = run_program(module, ["journalctl", "-b", "-q", "--no-pager", "-o", "cat", "-n", "5", "-u", service])[1]
    complaint = " / ".join(line.strip() for line in (err.splitlines()[:1] + log.splitlines()) if line.strip())[-500:]
    return complaint + explain_denial(complaint, text("/sys/fs/selinux/enforce"))


def explain_denial(complaint: str, enforce: str) -> str:
    """Say how SELinux's denials are found, where it enforces its policy and chronyd was denied something."""
    if enforce.strip() != "1" or "Permission denied" not in complaint:
        return ""
    return (
        "; SELinux is enforcing: `ausearch -m avc -c chronyd` shows what it denied, `restorecon -v FILE` mends a label"
    )


def record_no_clock(module: AnsibleModule) -> dict:
    output = f"there is no clock at {module.params['device']}: the host's time service is left as it was"
    return build_record(module, waited=False, command=None, output=output, failure=None)


def build_record(module: AnsibleModule, *, waited: bool, command: str | None, output: str, failure: str | None) -> dict:
    return {
        "schema": 1,
        "boot_id": text("/proc/sys/kernel/random/boot_id").strip(),
        "waited": waited,
        "converged": False,
        "converged_after_s": None,
        "starts": 1,
        "command": command,
        "out": output,
        "why": failure,
        "second_opinion": module.params["second_opinion"],
    }


def valid_record(record: dict | None) -> dict | None:
    """Return the record if it is of this boot and says that chrony has synchronised, else None."""
    boot_id = text("/proc/sys/kernel/random/boot_id").strip()
    return record if record and record.get("boot_id") == boot_id and record.get("converged") else None


def holds_lost_device(unit: dict) -> bool:
    """Tell whether chronyd holds a clock open that was unbound later: it never reads from such a clock again."""
    folder = f"/proc/{unit['MainPID']}/fd"
    try:
        links = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    except OSError:
        return False
    return any(link.startswith("/dev/ptp") and link.endswith("(deleted)") for link in links)


# --- the host --------------------------------------------------------------------------------------------------------


def show_units(module: AnsibleModule, units: list[str]) -> list[dict]:
    """Read units' properties from systemd; patterns match loaded units."""
    return parse_units(systemctl(module, "show", UNIT_PROPERTIES, *units))


def stop_competitors(module: AnsibleModule, units: list[str]) -> list[str]:
    """Stop and disable the units that run, or would run after the next boot; return their names."""
    steering = unsettled_units(show_units(module, units))
    if steering and not module.check_mode:
        systemctl(module, "disable", "--now", *steering, environment={"SYSTEMCTL_SKIP_SYSV": "1"})
    return steering


def systemctl(module: AnsibleModule, *arguments: str, environment: dict | None = None) -> str:
    argv = [module.get_bin_path("systemctl", required=True), *arguments]
    return run_program(module, argv, check_rc=True, environ_update=environment)[1]


def process_age_s(pid: str) -> float:
    """Compute the seconds since a process started: field 22 of proc_pid_stat(5), in clock ticks since boot."""
    fields = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    uptime = text("/proc/uptime").split()
    return round(float(uptime[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 2) if fields and uptime else 0.0


def to_json(record: dict) -> str:
    return json.dumps(record, indent=1) + "\n"


if __name__ == "__main__":
    main()
