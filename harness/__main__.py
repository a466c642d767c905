"""`python -m harness` is `ptp-harness`."""

from harness.cli import main

main()
