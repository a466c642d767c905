"""Use the machine that the harness runs on: programs, signals, settings."""
