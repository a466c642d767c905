"""`python -m harness` is `ptp-harness`. Loading it takes a second or two: Ctrl-C then has nothing to tidy up."""

import sys

from harness.errors import ExitCode


def main() -> None:
    """The command."""
    try:
        from harness.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("ptp-harness: interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
