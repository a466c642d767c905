"""`python -m harness` is `ptp-harness`. Loading it takes a second or two: Ctrl-C then has nothing to tidy up."""

import os
import sys

from harness.errors import ExitCode


def main() -> None:
    """The command. What it writes is for its user alone: ledger, evidence, keys and logs."""
    os.umask(0o077)
    try:
        from harness.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("ptp-harness: interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
