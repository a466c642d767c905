"""PTP Harness: which machines give a precision clock that can be trusted, how good it is, and why not where not."""

__version__ = "0.1.0"
