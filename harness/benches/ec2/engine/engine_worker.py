"""One operation on one stack, in a process and session of its own: the Automation API has no deadlines, but we have.

One line of JSON on standard input says what to do, lines of JSON on standard output say what happens. Standard input
stays open as long as whoever asked lives; when it closes, the engine is asked to stop, and no process stays behind.
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
    """Do what the first line asks for. 0: done; 1: it failed, and the last line says how."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the engine, in our group, hears it too and ends in its own way
    os.umask(0o077)  # state and logs of the engine are ours alone
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
    except Exception as error:  # the boundary of this process: whoever asked needs a line
        say("failed", message=f"{type(error).__name__}: {error}")
    else:
        return 0
    return 1


def say(kind: str, **words: Any) -> None:
    print(json.dumps({"event": kind, **words}), flush=True)


def up(request: dict[str, Any]) -> dict[str, Any]:
    """Bring a stack, which is made when it is not there, to its configuration. Its outputs."""
    workspace = _workspace(request)
    stack = automation.Stack.create_or_select(request["stack"], workspace)
    try:
        settings = workspace.stack_settings(request["stack"])
    except FileNotFoundError:  # a backend that encrypts by itself writes none
        settings = automation.StackSettings()
    settings.config = {key: one["value"] for key, one in request["config"].items() if not one["secret"]}
    workspace.save_stack_settings(request["stack"], settings)
    for key, one in request["config"].items():
        if one["secret"]:
            _keep_secret(request, key, one["value"])
    done = stack.up(on_event=tell, show_secrets=False, suppress_progress=True, color="never")
    return {name: output.value for name, output in done.outputs.items()}


def _keep_secret(request: dict[str, Any], key: str, value: str) -> None:
    """Through standard input: the Automation API would put it into the arguments, where every user sees it."""
    argv = ["pulumi", "config", "set", "--secret", key, "--stack", request["stack"], "--non-interactive"]
    proc.run(argv, timeout_s=_CONFIG_S, stdin=value, cwd=Path(request["folder"]))


def destroy(request: dict[str, Any]) -> None:
    stack = automation.Stack.select(request["stack"], _workspace(request))
    stack.destroy(on_event=tell, show_secrets=False, suppress_progress=True, color="never")


def recover(request: dict[str, Any]) -> None:
    """Bring the state to what is true, and forget what was being made when the engine was killed."""
    stack = automation.Stack.select(request["stack"], _workspace(request))
    stack.refresh(on_event=tell, show_secrets=False, suppress_progress=True, color="never", clear_pending_creates=True)


def outputs(request: dict[str, Any]) -> dict[str, Any]:
    return {name: one.value for name, one in _workspace(request).stack_outputs(request["stack"]).items()}


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
    """Resources that are begun and done, and errors. Inputs and outputs are never told: they may hold secrets."""
    begun, done, said = event.resource_pre_event, event.res_outputs_event, event.diagnostic_event
    for step in (begun, done):
        if step is not None and step.metadata.type.startswith("aws:"):
            operation = str(getattr(step.metadata.op, "value", step.metadata.op))
            say("step", operation=operation, urn=step.metadata.urn, begun=step is begun)
    if said is not None and said.severity == "error":
        say("error", urn=said.urn or "", message=said.message)


def _outlive_nobody() -> None:
    """Wait until standard input closes: whoever asked is gone. Then end the engine as its user would, and all else."""
    sys.stdin.read()
    for _ in range(2):
        os.killpg(0, signal.SIGINT)
        time.sleep(GRACE_S)
    proc.end_session(os.getsid(0))
    os._exit(1)


def _last_words(error: Exception) -> str:
    """The engine's own error lines, without the command and its outputs, in which they are wrapped."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wrong = [line.removeprefix("stderr: ").removeprefix("error: ") for line in lines if "error:" in line]
    return (wrong or lines or [type(error).__name__])[-1]


if __name__ == "__main__":
    sys.exit(main())
