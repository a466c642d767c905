"""How samples come home while a host measures: by following a file, so that a cut connection loses nothing.

The sampler runs by itself on the host and writes one JSON line a second; we ask for what is new every few seconds.
"""

import json
import time
from collections.abc import Callable

from harness import proc
from harness.errors import CommandError
from harness.playbooks import Target

ASK_EVERY_S = 5.0
PATIENCE_S = 30.0


def follow(
    target: Target,
    remote_path: str,
    *,
    duration_s: float,
    on_lines: Callable[[list[str]], None],
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """All that the sampler wrote, as text; complete when its last line says "end".

    Gives up `PATIENCE_S` after the sampler should have ended and returns what there is: the caller sees that the end is
    missing. `pause` may raise to stop early.
    """
    text, give_up = "", time.monotonic() + duration_s + PATIENCE_S
    while not ended(text) and time.monotonic() < give_up:
        pause(ASK_EVERY_S)
        new = _whole_lines(_ask(target, remote_path, skip=len(text.encode())))
        if new:
            text += new
            on_lines(new.splitlines())
    return text


def ended(text: str) -> bool:
    """Whether the last whole line is the sampler's closing one."""
    lines = text.splitlines()
    if not lines:
        return False
    try:
        last = json.loads(lines[-1])
    except ValueError:
        return False
    return isinstance(last, dict) and last.get("kind") == "end"


def _ask(target: Target, remote_path: str, *, skip: int) -> str:
    try:
        return proc.run(target.command("tail", "-c", f"+{skip + 1}", remote_path), timeout_s=20, check=False).stdout
    except CommandError:
        return ""


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]
