"""PTP Harness: which machines give a precision clock that can be trusted, how good it is, and if not, why."""

__version__ = "0.1.0"
