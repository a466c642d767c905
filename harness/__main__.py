"""`python -m harness` is `ptp-harness`."""

from harness.cli.app import main

main()
