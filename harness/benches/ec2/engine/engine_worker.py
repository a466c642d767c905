"""Run one operation on one stack, in a process and session of its own, so that the harness can enforce a deadline.

The Automation API has no deadlines. A line of JSON on standard input names the operation; lines of JSON on standard
output report the events. Standard input stays open as long as the caller lives: when it closes, the engine is asked to
stop, and no process stays behind.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulumi import automation
from pulumi.automation import errors, events

from harness.system import proc

GRACE_S = 20.0
_CONFIG_S = 60.0


def main() -> int:
    """Run the operation of the first input line. Returns 0 for success, 1 for a failure, which the last line tells."""
    # The engine, in the same process group, gets SIGINT too and ends by itself.
    signal.signal(signal.SIGINT, lambda *_: None)
    os.umask(0o077)  # nobody else may read the engine's state and logs
    os.environ.pop("PULUMI_CONFIG_PASSPHRASE", None)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    try:
        say("done", value=OPERATIONS[request["operation"]](request))
    except errors.StackNotFoundError:
        say("absent")
    except errors.ConcurrentUpdateError as error:
        say("locked", message=_last_words(error))
    except errors.CommandError as error:
        say("failed", message=_last_words(error))
    except Exception as error:  # the boundary of this process: the caller needs a line
        say("failed", message=f"{type(error).__name__}: {error}")
    else:
        return 0
    return 1


def say(kind: str, **fields: Any) -> None:
    """Print an event as a line of JSON; `fields` are those of the kind of event."""
    print(json.dumps({"event": kind, **fields}), flush=True)


def up(request: dict[str, Any]) -> dict[str, Any]:
    """Create the stack if it does not exist, bring it to its configuration, and return its outputs."""
    workspace = _workspace(request)
    stack = automation.Stack.create_or_select(request["stack"], workspace)
    try:
        settings = workspace.stack_settings(request["stack"])
    except FileNotFoundError:  # a backend with its own encryption writes no such file
        settings = automation.StackSettings()
    settings.config = {key: entry["value"] for key, entry in request["config"].items() if not entry["secret"]}
    workspace.save_stack_settings(request["stack"], settings)
    for key, entry in request["config"].items():
        if entry["secret"]:
            _keep_secret(request, key, entry["value"])
    result = stack.up(on_event=tell, show_secrets=False, suppress_progress=True, color="never")
    return {name: output.value for name, output in result.outputs.items()}


def _keep_secret(request: dict[str, Any], key: str, value: str) -> None:
    """Set a secret through standard input: the Automation API would pass it as an argument, visible to every user."""
    argv = ["pulumi", "config", "set", "--secret", key, "--stack", request["stack"], "--non-interactive"]
    proc.run(argv, timeout_s=_CONFIG_S, stdin=value, cwd=Path(request["folder"]))


def destroy(request: dict[str, Any]) -> None:
    stack = automation.Stack.select(request["stack"], _workspace(request))
    stack.destroy(on_event=tell, show_secrets=False, suppress_progress=True, color="never")


def recover(request: dict[str, Any]) -> None:
    """Refresh the state from EC2, and drop pending creations of an engine that was killed."""
    stack = automation.Stack.select(request["stack"], _workspace(request))
    stack.refresh(on_event=tell, show_secrets=False, suppress_progress=True, color="never", clear_pending_creates=True)


def outputs(request: dict[str, Any]) -> dict[str, Any]:
    return {name: output.value for name, output in _workspace(request).stack_outputs(request["stack"]).items()}


def stacks(request: dict[str, Any]) -> list[str]:
    return [summary.name for summary in _workspace(request).list_stacks()]


def remove(request: dict[str, Any]) -> None:
    _workspace(request).remove_stack(request["stack"])


def _workspace(request: dict[str, Any]) -> automation.LocalWorkspace:
    return automation.LocalWorkspace(work_dir=request["folder"])


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "up": up,
    "destroy": destroy,
    "recover": recover,
    "outputs": outputs,
    "stacks": stacks,
    "remove": remove,
}


def tell(event: events.EngineEvent) -> None:
    """Report the start and end of resources, and errors, but never inputs and outputs: they may hold secrets."""
    begun, completed, diagnostic = event.resource_pre_event, event.res_outputs_event, event.diagnostic_event
    for step in (begun, completed):
        if step is not None and step.metadata.type.startswith("aws:"):
            operation = str(getattr(step.metadata.op, "value", step.metadata.op))
            say("step", operation=operation, urn=step.metadata.urn, begun=step is begun)
    if diagnostic is not None and diagnostic.severity == "error":
        say("error", urn=diagnostic.urn or "", message=diagnostic.message)


def _outlive_nobody() -> None:
    """Wait until standard input closes, which means that the caller is gone. Then end the engine and all processes.

    The engine gets SIGINT twice first, as its user would send it.
    """
    sys.stdin.read()
    for _ in range(2):
        os.killpg(0, signal.SIGINT)
        time.sleep(GRACE_S)
    proc.end_session(os.getsid(0))
    os._exit(1)


def _last_words(error: Exception) -> str:
    """Return the engine's own last error line, without the command and outputs around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    error_lines = [line.removeprefix("stderr: ").removeprefix("error: ") for line in lines if "error:" in line]
    return (error_lines or lines or [type(error).__name__])[-1]


if __name__ == "__main__":
    sys.exit(main())
