"""Signals for all tests: those that ask to stop work also where the tests were started by nohup or in the background."""

import signal

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
