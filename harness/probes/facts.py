"""Derive facts from the captures of one collection on a host. Text that was not understood gives no fact."""

import errno
import json
from collections.abc import Mapping, Sequence

from harness.errors import ParseError
from harness.model import Capture, Captures, Driver, DriverWord, Facts, Unparsed, WrongSetting
from harness.probes import (
    chrony_log,
    chronyc,
    devlink,
    driver_word,
    error_bound,
    ethtool,
    kernel_log,
    linuxptp_record,
    modinfo,
    module,
    module_options,
    ntp_probe,
    phc_reads,
    phc_stats,
    ptp_sysfs,
    services,
    system,
)
from harness.probes.reading import LONGEST_COLLECTION, LONGEST_RECORD, ParseNotes, json_object, output_of, parse_capture
from harness.untrusted.plain_text import bounded

LINK = "/dev/ptp_ena"


def read_facts(text: str, *, where: str) -> tuple[Facts, tuple[Unparsed, ...]]:
    """Parse collect.py's JSON into facts, and list the lines that no probe understood (`where` names their file)."""
    notes = ParseNotes(where)
    captures = notes.read(_parse_captures, text, "captures", longest_line=LONGEST_COLLECTION) or {}
    return bounded(_facts(captures, notes)), notes.unparsed


def from_captures(captures: Captures, *, where: str) -> tuple[Facts, tuple[Unparsed, ...]]:
    """Derive facts from captures in memory, and list the lines that no probe understood."""
    notes = ParseNotes(where)
    return bounded(_facts(captures, notes)), notes.unparsed


def _parse_captures(text: str, where: str) -> dict[str, Capture]:
    try:
        collected = json_object(text)
        if collected.get("schema") != 1:
            raise ValueError("not schema 1")
        return {str(name): parse_capture(value) for name, value in dict(collected["captures"]).items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ParseError(where, 1, text[:200].split("\n")[0], "collect.py's JSON object, schema 1") from error


def _facts(captures: Captures, notes: ParseNotes) -> Facts:
    clocks = notes.read(ptp_sysfs.parse_clocks, _clock_listing(captures), "ptp-class")
    links = notes.read(ptp_sysfs.parse_links, output_of(captures, "ptp-links"), "ptp-links")
    chrony = notes.read(chronyc.parse, output_of(captures, "chronyc"), "chronyc")
    answers = notes.read(ntp_probe.parse, output_of(captures, "ntp-probe"), "ntp-probe")
    converged = notes.read(
        chrony_log.parse_convergence, output_of(captures, "chrony-phc"), "chrony-phc", longest_line=LONGEST_RECORD
    )
    boot_id = notes.read(system.parse_boot_id, output_of(captures, "boot"), "boot")
    if converged is not None and not _same_boot(converged.boot_id, boot_id):
        converged = None
    record = notes.read(
        driver_word.parse, output_of(captures, "driver-word"), "driver-word", longest_line=LONGEST_RECORD
    )
    burst = notes.read(_parse_burst, output_of(captures, "phc-reads"), "phc-reads", longest_line=LONGEST_RECORD)
    chronyd_log = output_of(captures, "chrony-log")
    kernel_lines = (output_of(captures, "kernel-log") or "").splitlines()
    word, text = _driver_word(record, boot_id, kernel_lines)
    read_failure, read_failure_text = kernel_log.find_read_failure(kernel_lines) or (None, None)
    drivers = _drivers(captures, notes)
    return Facts(
        kernel=notes.read(system.parse_kernel, output_of(captures, "uname"), "uname"),
        os=notes.read(system.parse_distribution, output_of(captures, "os-release"), "os-release"),
        kernel_has_ptp=True
        if clocks
        else notes.read(system.parse_kernel_has_ptp, output_of(captures, "kernel-config"), "kernel-config"),
        drivers=drivers,
        clocks=clocks,
        phc_link=links.get(LINK) if links is not None else None,
        driver_word=word,
        driver_word_text=text,
        remedy=record.remedy if record else None,
        error_bound_published=_error_bound_published(captures, notes),
        counters_published=_counters_published(captures, notes),
        reads=burst.reads if burst else None,
        read_errors=burst.errors if burst else None,
        chrony_version=notes.read(chrony_log.parse_version, output_of(captures, "chrony-version"), "chrony-version"),
        tracking=chrony.tracking if chrony else None,
        sources=chrony.sources if chrony and chrony.tracking else None,
        chronyd_runs=notes.read(services.parse_chronyd_runs, output_of(captures, "services"), "services"),
        competitors=notes.read(services.parse_competitors, output_of(captures, "services"), "services"),
        interference=None if chronyd_log is None else chrony_log.parse_interference(chronyd_log),
        converged=converged.converged if converged else None,
        converged_after_s=converged.after_s if converged else None,
        chronyd_starts=converged.starts if converged else None,
        why_not_converged=converged.why if converged else None,
        ntp_stratum=ntp_probe.link_local_stratum(answers) if answers is not None else None,
        ntp_offset_ns=ntp_probe.best_offset_ns(answers) if answers is not None else None,
        hardware_timestamping=_hardware_timestamping(captures, notes),
        boot_id=boot_id,
        read_failure=read_failure,
        read_failure_text=read_failure_text,
        wrong_setting=_wrong_setting(captures, notes, drivers or (), kernel_lines),
        restarting=notes.read(services.parse_restarting, output_of(captures, "services"), "services") or (),
        missing_tools=notes.read(
            linuxptp_record.parse_missing_tools,
            output_of(captures, "linuxptp"),
            "linuxptp",
            longest_line=LONGEST_RECORD,
        )
        or (),
        leap_announced=notes.read(system.parse_leap, output_of(captures, "adjtimex"), "adjtimex") or False,
        error_bound_trouble=next((line.strip() for line in kernel_lines if kernel_log.NO_ERROR_BOUND in line), None),
    )


def _clock_listing(captures: Captures) -> str | None:
    """Return the listing of /sys/class/ptp; empty where the kernel has no such folder, and so no clocks."""
    capture = captures.get("ptp-class")
    return "" if capture is not None and capture.rc == errno.ENOENT else output_of(captures, "ptp-class")


def _same_boot(recorded: str | None, boot_id: str | None) -> bool:
    """Whether a role's record is of this boot, as far as both are known."""
    return recorded is None or boot_id is None or recorded == boot_id


def _select_kind(captures: Captures, kind: str) -> dict[str, Capture]:
    """Select the captures of one kind, by the part of their name after the slash: `ethtool-i/eth1` -> eth1."""
    return {name.partition("/")[2]: capture for name, capture in captures.items() if name.startswith(f"{kind}/")}


def _parse_burst(text: str, where: str) -> phc_reads.PhcBurst | None:
    try:
        return phc_reads.parse_burst(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ParseError(where, 1, text[:200], "a burst of readings as JSON") from error


def _driver_word(
    record: driver_word.DriverRecord | None, boot_id: str | None, kernel_lines: Sequence[str]
) -> tuple[DriverWord | None, str | None]:
    """Find the driver's message: its answer to the role, if given in this boot, else the last in the kernel log.

    Only the role's record has a refusal of devlink's request, so the record precedes the log.
    """
    if record is not None and record.word is not None and _same_boot(record.boot_id, boot_id):
        return record.word, record.text
    return kernel_log.find_last_word(kernel_lines) or (None, None)


def _wrong_setting(
    captures: Captures, notes: ParseNotes, drivers: Sequence[Driver], kernel_lines: Sequence[str]
) -> WrongSetting | None:
    """Find a setting of the module ena that names the clock and does not switch it on: its name or value is wrong.

    The name is wrong where the driver has no such parameter, such as devlink's name `enable_phc` for the module.
    """
    options = notes.read(module_options.parse, output_of(captures, "module-options"), "module-options") or ()
    no_parameter = bool(drivers) and all(driver.phc_parameter is False for driver in drivers)
    for option in reversed(options):
        right_name = option.name == modinfo.PHC_PARAMETER and not no_parameter
        if "phc" in option.name.lower() and not (right_name and option.value not in ("0", "")):
            return WrongSetting(name=option.name, line=option.line, file=option.file)
    unknown = [name for name in kernel_log.find_unknown_parameters(kernel_lines) if "phc" in name.lower()]
    return WrongSetting(name=unknown[-1], line=None, file=None) if unknown else None


def _drivers(captures: Captures, notes: ParseNotes) -> tuple[Driver, ...] | None:
    functions = notes.read(system.parse_pci_functions, output_of(captures, "pci"), "pci")
    if functions is None:
        return None
    on_disk = notes.read(modinfo.parse, output_of(captures, "modinfo"), "modinfo")
    loaded = notes.read(module.parse, output_of(captures, "module"), "module")
    switches = notes.read(devlink.parse, output_of(captures, "devlink"), "devlink")
    drivers: list[Driver] = []
    for function in functions:
        name = f"ethtool-i/{function.interface}"
        info = notes.read(ethtool.parse_driver_info, output_of(captures, name), name)
        drivers.append(
            Driver(
                pci=function.address,
                interface=function.interface,
                name=function.driver or "none",
                version=info.version if info else loaded.version if loaded else None,
                phc_parameter=_has_parameter(on_disk, loaded),
                phc_parameter_on=_parameter_on(loaded),
                devlink_parameter=_devlink_has(switches, function.address),
                devlink_on=switches.get(function.address) if switches is not None else None,
            )
        )
    return tuple(drivers)


def _has_parameter(on_disk: modinfo.ModuleFile | None, loaded: module.LoadedModule | None) -> bool | None:
    if loaded is not None and modinfo.PHC_PARAMETER in loaded.parameters:
        return True
    return None if on_disk is None else modinfo.PHC_PARAMETER in on_disk.parameters


def _parameter_on(loaded: module.LoadedModule | None) -> bool | None:
    value = loaded.parameters.get(modinfo.PHC_PARAMETER) if loaded is not None else None
    return None if value is None else value not in ("0", "N", "")


def _devlink_has(switches: Mapping[str, bool | None] | None, address: str) -> bool | None:
    return None if switches is None else switches.get(address) is not None


def _error_bound_published(captures: Captures, notes: ParseNotes) -> bool | None:
    """True when an ENA function publishes an error bound; False when all were examined and none does."""
    bounds = [
        notes.read(error_bound.parse, capture, f"error-bound/{address}")
        for address, capture in _select_kind(captures, "error-bound").items()
    ]
    return _any_true([None if bound is None else bound.published for bound in bounds])


def _counters_published(captures: Captures, notes: ParseNotes) -> bool | None:
    """True when ethtool -S or debugfs has phc_* counters; False when both were examined and neither has any."""
    results: list[bool | None] = []
    for kind in ("ethtool-S", "phc-stats"):
        parts = _select_kind(captures, kind)
        for part, capture in parts.items():
            counters = notes.read(phc_stats.parse, capture.out if capture.rc == 0 else None, f"{kind}/{part}")
            absent = capture.rc == errno.ENOENT or (capture.rc == 0 and counters is None)
            results.append(True if counters else False if absent else None)
        results += [] if parts else [None]
    return _any_true(results)


def _hardware_timestamping(captures: Captures, notes: ParseNotes) -> bool | None:
    results = [
        notes.read(ethtool.parse_timestamping, capture.out if capture.rc == 0 else None, f"ethtool-T/{part}")
        for part, capture in _select_kind(captures, "ethtool-T").items()
    ]
    return _any_true([None if result is None else result.full_hardware for result in results])


def _any_true(values: list[bool | None]) -> bool | None:
    """True when any value is True, False when all values are False, else None; None for an empty list."""
    if True in values:
        return True
    return None if not values or None in values else False
