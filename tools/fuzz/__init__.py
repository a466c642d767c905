"""Fuzz the code that reads input of hosts, guests and clients. `python -m tools.fuzz --help`.

A target is a module of this package with `seeds()`, inputs made from real exchanges; `run(data)`, which takes one input
and raises when the tested code breaks a promise; and `WORDS`, texts that a fuzzer may insert and combine.
"""

TARGETS = {
    "probes": "tools.fuzz.probes",
    "verdicts": "tools.fuzz.verdicts",
    "device": "tools.fuzz.device",
    "control": "tools.fuzz.control",
}
"""Name of each target -> its module."""
