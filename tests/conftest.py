"""Signals for all tests: what asks to stop is heard also where the tests run in the background, or under nohup."""

import signal

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
