"""Run a whole campaign on EC2 without EC2: the real engine, moto's API, and lab guests for instances.

    python tests/doubles/rehearsal.py [ARGUMENTS OF ptp-harness ...]  by default `run` of the campaign beside this file

Needs the `pulumi` command. The account refuses what docs/iam-policy.json does not allow, if that can be evaluated
(`policy`). Nothing leaves this machine; all state is in a folder that is removed at the end.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.doubles import policy

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CAMPAIGN = HERE / "rehearsal.yaml"
KINDS = {
    "m7i.large": "lab.driver-off",
    "r7i.large": "lab.no-phc",
    "c7i.large": "lab.old-driver",
    "m7i.2xlarge": "lab.cloud-debian-13",
}
"""The lab type of an instance type; any other is a host whose clock works."""

GET_PULUMI = "https://www.pulumi.com/docs/install says how to get it, or: curl -fsSL https://get.pulumi.com | sh"


@contextmanager
def serve_double(program: str, *arguments: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Start a double and yield its port; it ends when its standard input closes, and does not receive our Ctrl-C."""
    argv = [sys.executable, str(HERE / program), *arguments]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        assert port, f"{program} did not start"
        try:
            yield port
        finally:
            child.stdin.close()
            child.wait(120)


@contextmanager
def serve_cloud(folder: Path, kinds: Mapping[str, str] = KINDS, **overrides: str) -> Iterator[dict[str, str]]:
    """Yield an environment in which ptp-harness finds an account on this machine, with its state in the folder.

    `overrides` override the inherited environment.
    """
    account = {
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PTP_HARNESS_STATE_DIR": str(folder / "state"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "lab")]),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    environ = inherited | account | overrides
    arguments = [*policy.server_arguments()]
    arguments += [word for type_and_kind in kinds.items() for word in ("--kind", "=".join(type_and_kind))]
    with serve_double("guests.py", *arguments, environ=environ) as moto:
        environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{moto}"
        files = ("--log", str(folder / "calls.jsonl"), "--faults", str(folder / "faults.json"))
        with serve_double("aws_provider.py", *files, environ=environ) as port:
            yield environ | {"PULUMI_DEBUG_PROVIDERS": f"aws:{port}"}


def main(arguments: Sequence[str]) -> int:
    """Run the command, then a sweep; return the exit code."""
    if shutil.which("pulumi") is None:
        print(f"the rehearsal runs Pulumi's real engine, and `pulumi` is not on PATH: {GET_PULUMI}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ptp-rehearsal-") as folder, serve_cloud(Path(folder)) as environ:
        command = [sys.executable, "-m", "harness", *(arguments or ["run", str(CAMPAIGN)])]
        print(f"--- {' '.join(['ptp-harness', *command[3:]])}", file=sys.stderr)
        code = subprocess.call(command, env=environ, cwd=folder)
        sweep_argv = [sys.executable, "-m", "harness", "sweep", "--bench", "ec2", "--region", "eu-north-1"]
        print("--- ptp-harness sweep --bench ec2", file=sys.stderr)
        sweep_code = subprocess.call(sweep_argv, env=environ, cwd=folder)
        return code or sweep_code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
