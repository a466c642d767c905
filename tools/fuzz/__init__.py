"""Fuzz targets: what hosts, guests and clients may send, and the code that reads it. `python -m tools.fuzz --help`.

A target is a module here with `seeds()`, inputs made from real exchanges; `run(data)`, which takes one input and raises
where the code under it does not what it promises; and `WORDS`, which a fuzzer may put together.
"""

TARGETS = {
    "probes": "tools.fuzz.probes",
    "verdicts": "tools.fuzz.verdicts",
    "device": "tools.fuzz.device",
    "control": "tools.fuzz.control",
}
"""Name of each target -> its module."""
