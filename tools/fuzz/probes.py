"""Fuzz each parser of a tool's text, and the two readers that combine them. They may only return or raise ParseError.

An input is one byte that chooses the reader, and the text. Bytes that are not UTF-8 become lone surrogates.
"""

import json
from collections.abc import Callable
from pathlib import Path

from harness.errors import ParseError
from harness.model import Capture
from harness.probes import (
    chrony_log,
    chronyc,
    devlink,
    driver_word,
    error_bound,
    ethtool,
    facts,
    kernel_log,
    linuxptp_record,
    modinfo,
    module,
    module_options,
    ntp_probe,
    phc_stats,
    ptp_sysfs,
    samples,
    services,
    system,
)

DATA = Path(__file__).parents[2] / "tests" / "data"

PARSERS: dict[str, Callable[[str, str], object]] = {
    "chronyc": chronyc.parse,
    "chronyd_runs": services.parse_chronyd_runs,
    "convergence": chrony_log.parse_convergence,
    "devlink": devlink.parse,
    "driver_info": ethtool.parse_driver_info,
    "driver_word": driver_word.parse,
    "interference": lambda text, _where: chrony_log.parse_interference(text),
    "kernel_log": lambda text, _where: kernel_log.find_last_word(text.splitlines()),
    "leap": system.parse_leap,
    "missing_tools": linuxptp_record.parse_missing_tools,
    "modinfo": modinfo.parse,
    "module": module.parse,
    "module_options": module_options.parse,
    "ntp_probe": ntp_probe.parse,
    "phc_stats": phc_stats.parse,
    "ptp_clocks": ptp_sysfs.parse_clocks,
    "ptp_links": ptp_sysfs.parse_links,
    "restarting": services.parse_restarting,
    "services": services.parse_competitors,
    "boot_id": system.parse_boot_id,
    "distribution": system.parse_distribution,
    "kernel": system.parse_kernel,
    "kernel_has_ptp": system.parse_kernel_has_ptp,
    "pci_functions": system.parse_pci_functions,
    "timestamping": ethtool.parse_timestamping,
    "version": chrony_log.parse_version,
}

_READERS: dict[str, Callable[[str, str], object]] = {
    **PARSERS,
    "error_bound": lambda text, where: error_bound.parse(Capture(command="", rc=0, out=text, err=""), where),
    "facts": lambda text, where: facts.read_facts(text, where=where),
    "samples": lambda text, where: samples.read_samples(text, where=where),
}
_NAMES = list(_READERS)
_CAPTURED = {
    "adjtimex": ("leap",),
    "boot": ("boot_id",),
    "chrony-log": ("interference",),
    "chrony-phc": ("convergence",),
    "chrony-version": ("version",),
    "chronyc": ("chronyc",),
    "devlink": ("devlink",),
    "driver-word": ("driver_word",),
    "error-bound": ("error_bound",),
    "ethtool-S": ("phc_stats",),
    "ethtool-T": ("timestamping",),
    "ethtool-i": ("driver_info",),
    "kernel-config": ("kernel_has_ptp",),
    "kernel-log": ("kernel_log",),
    "linuxptp": ("missing_tools",),
    "modinfo": ("modinfo",),
    "module": ("module",),
    "module-options": ("module_options",),
    "ntp-probe": ("ntp_probe",),
    "os-release": ("distribution",),
    "pci": ("pci_functions",),
    "phc-stats": ("phc_stats",),
    "ptp-class": ("ptp_clocks",),
    "ptp-links": ("ptp_links",),
    "services": ("services", "chronyd_runs", "restarting"),
    "uname": ("kernel",),
}
"""Name of a capture of collect.py -> the names of the parsers that read its text."""

WORDS = [
    *(b'"schema": 1', b'"captures"', b'"rc": 0', b'"out": "', b'"kind": "sample"', b'"seq": ', b'"reads": [[', b"null"),
    *(b"\\u0000", b"\\ud800", b"\\n", b"\t", b"\r", b"1e999", b"NaN", b"-0", b"9" * 20, b"9" * 400, b" -> ", b"[" * 99),
    *(b"PHC", b"phc_cnt: ", b"PTP Hardware Clock: ", b"clock_name", b"enable_phc", b"driverinit", b"PRETTY_NAME="),
    *(f'"{name}": '.encode() for name in _CAPTURED),
]


def seeds() -> list[bytes]:
    """Return all captured text as inputs for its parsers, and the whole files of real hosts."""
    inputs: set[bytes] = set()
    for path in sorted((DATA / "lab").glob("*/facts*.json")):
        text = path.read_text()
        inputs.add(_input("facts", text))
        for name, capture in json.loads(text)["captures"].items():
            inputs |= {_input(parser, capture["out"]) for parser in _CAPTURED.get(name.split("/")[0], ())}
    for path in sorted((DATA / "lab").glob("*/samples.jsonl")):
        lines = path.read_text().splitlines()
        inputs.add(_input("samples", "\n".join([*lines[:5], lines[-1]])))
    texts = [path.read_text()[:4000] for path in sorted(DATA.glob("[ec]*/**/*")) if path.suffix in (".csv", ".txt")]
    inputs |= {_input(name, text) for text in texts for name in PARSERS if _is_read(name, text)}
    return sorted(inputs)


def run(data: bytes) -> None:
    """Read the text. Raises what a reader raises except ParseError; AssertionError for a ParseError without a line."""
    name = _NAMES[data[0] % len(_NAMES)] if data else "facts"
    try:
        _READERS[name](data[1:].decode(errors="surrogateescape"), "where")
    except ParseError as error:
        if error.where != "where" or error.line_number < 1:
            raise AssertionError(f"a refusal that names no line: {error}") from error


def _is_read(name: str, text: str) -> bool:
    try:
        return PARSERS[name](text, "where") is not None
    except ParseError:
        return False


def _input(name: str, text: str) -> bytes:
    return bytes([_NAMES.index(name)]) + text.encode()
