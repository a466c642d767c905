"""Programs end when they should, and a process is never mistaken for another."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CommandError, SetupError
from harness.system import proc
from harness.system.proc import ProcessId


def test_both_outputs_and_the_status_come_back() -> None:
    done = proc.run(["sh", "-c", "cat; echo no >&2; exit 3"], timeout_s=10, stdin="in", check=False)
    assert (done.status, done.stdout, done.stderr) == (3, "in", "no\n")


def test_a_failure_names_the_program_its_status_and_its_last_words() -> None:
    with pytest.raises(CommandError, match=r"sh ended with status 3: the last word") as caught:
        proc.run(["sh", "-c", "echo first; echo the last word >&2; exit 3"], timeout_s=10)
    assert (caught.value.status, caught.value.stdout, caught.value.stderr) == (3, "first\n", "the last word\n")


def test_past_the_deadline_the_whole_group_is_gone(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(CommandError, match="did not end within 1 s") as caught:
        proc.run(["sh", "-c", f"sleep 60 & echo $! > {pids}; echo begun; wait"], timeout_s=1)
    assert caught.value.status is None
    assert caught.value.stdout == "begun\n"
    left = int(pids.read_text())
    give_up = time.monotonic() + 10  # killed, but an orphan is there until init has collected it
    while proc.identify(left) is not None:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_missing_program_is_one_sentence() -> None:
    with pytest.raises(SetupError, match="no-such-program is not installed"):
        proc.run(["no-such-program"], timeout_s=1)


def test_a_spawned_process_lives_on_its_own_until_it_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = proc.spawn([sys.executable, "-c", words], log=log)
    while "up" not in log.read_text():
        time.sleep(0.01)
    assert child.alive()
    assert os.getpgid(child.pid) == child.pid
    assert proc.end(child, grace_s=0.2)
    assert not child.alive()


def test_a_recycled_pid_is_somebody_else() -> None:
    me = proc.identify(os.getpid())
    assert me is not None
    assert me.alive()
    other = proc.ProcessId(pid=me.pid, start_ticks=me.start_ticks + 1)
    assert not other.alive()
    assert proc.end(other), "not ours to end: nothing to do"


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert proc.identify(pid) is None
    os.waitpid(pid, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount /proc and to become another user")
@pytest.mark.parametrize("hides", ["noaccess", "invisible", "ptraceable"])
def test_a_process_that_the_kernel_hides_may_live(hides: str) -> None:
    """As seen by another user; its own space of mounts has a /proc that hides."""
    code = f"""
import os, sys
from harness.system.proc import ProcessId
pid = {os.getpid()}
print([ProcessId(pid=pid, start_ticks=1).alive(), ProcessId(pid=pid, start_ticks=1).may_live()])
print(ProcessId(pid=2**22 - 1, start_ticks=1).may_live())
"""
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script = f'mount -t proc -o "hidepid=$1" proc /proc && exec {nobody} "$2" -c "$3"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", hides, sys.executable, code]
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    if "mount:" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"not here: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout.splitlines() == ["[False, True]", "False"], done.stderr


def test_ending_asks_first(tmp_path: Path) -> None:
    out = tmp_path / "log"
    child = proc.spawn(["sh", "-c", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"], log=out)
    while "up" not in out.read_text():
        time.sleep(0.01)
    assert proc.end(child)
    assert out.read_text().splitlines()[-1] == "asked"


@pytest.mark.programs
def test_a_preferred_process_goes_before_one_of_another_session(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    loop = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"]
    first, last = proc.spawn(loop, log=tmp_path / "first"), proc.spawn(loop, log=tmp_path / "last")
    proc.raise_priority(last, niceness=15)  # that much is everybody's right
    try:
        time.sleep(2)
        assert computed(first) > 3 * computed(last)
    finally:
        proc.end(first)
        proc.end(last)


def computed(process: ProcessId) -> int:
    """Field 14 of proc_pid_stat(5): ticks in which it has computed."""
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11])


WORKER = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"asked to stop\\n") and {ending})  # print may be at work
print("told", sys.stdin.readline().strip(), flush=True)
subprocess.Popen(["sleep", "{sleep}"], process_group=0, stdout=subprocess.DEVNULL)
print("ready", flush=True)
time.sleep({seconds})
"""


SLEEP = f"60.{os.getpid()}"
"""What the worker's own child is told to sleep: only this process of tests starts it so."""


def converse(lines: list[str], ending: str, seconds: float, **more: Any) -> proc.Completed:
    words = [sys.executable, "-c", WORKER.format(ending=ending, seconds=seconds, sleep=SLEEP)]
    patience = {"timeout_s": 20.0, "grace_s": 0.3} | more
    return proc.run_with_progress(
        words, stdin="the word\n", on_line=lambda line: lines.append(line.strip()), **patience
    )


def test_a_conversation_is_heard_line_by_line_and_leaves_nothing() -> None:
    lines: list[str] = []
    assert converse(lines, "None", 0).status == 0
    assert lines == ["told the word", "ready"]
    assert not sleepers()


def test_a_conversation_that_is_cancelled_is_asked_first() -> None:
    lines: list[str] = []
    done = converse(lines, "sys.exit(7)", 60, cancelled=lambda: "ready" in lines)
    assert (done.status, lines[-1]) == (7, "asked to stop")


def test_one_that_does_not_stop_is_asked_twice_and_then_killed() -> None:
    lines: list[str] = []
    done = converse(lines, "None", 60, cancelled=lambda: "ready" in lines)
    assert (done.status, lines.count("asked to stop")) == (-9, 2)
    assert not sleepers()


def test_past_the_deadline_a_conversation_is_an_error() -> None:
    with pytest.raises(CommandError, match="did not end within"):
        converse([], "None", 60, timeout_s=1.0)


def sleepers() -> list[ProcessId]:
    """The children of workers of this process of tests."""
    found, command = [], f"sleep\0{SLEEP}\0".encode()
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "cmdline").read_bytes() == command and (one := proc.identify(int(entry.name))):
                found.append(one)
        except OSError:
            continue
    return found


# --- programs that print what a hostile host sends ------------------------------------------------------------------

FLOOD = "import sys\nwhile True: sys.{0}.buffer.write(b'x' * 65536)"
DRIP = "import sys, time\nwhile True: sys.stdout.write('x'); sys.stdout.flush(); time.sleep(0.05)"


@pytest.mark.parametrize(("stream", "most"), [("stdout", 16 << 20), ("stderr", 1 << 18)])
def test_a_program_that_floods_an_output_is_killed_at_its_cap(stream: str, most: int) -> None:
    with pytest.raises(CommandError, match=r"printed more than \d+ bytes, or \d+ of errors, and was ended") as caught:
        proc.run([sys.executable, "-c", FLOOD.format(stream)], timeout_s=60)
    assert caught.value.status is None
    assert str(most) in caught.value.message


def test_a_flood_costs_us_little_more_memory_than_its_cap() -> None:
    words = (
        "import resource, sys\n"
        "from harness.system import proc\n"
        "from harness.errors import CommandError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try: proc.run([sys.executable, '-c', {FLOOD.format('stdout')!r}], timeout_s=60)\n"
        "except CommandError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    more_kib = int(proc.run([sys.executable, "-c", words], timeout_s=60, cwd=Path(__file__).parents[3]).stdout)
    assert more_kib < 100 * 1024


def test_one_byte_at_a_time_does_not_move_the_deadline() -> None:
    begun = time.monotonic()
    with pytest.raises(CommandError, match="did not end within 1 s"):
        proc.run([sys.executable, "-c", DRIP], timeout_s=1)
    assert time.monotonic() - begun < 5


def test_a_child_that_holds_the_outputs_open_is_not_waited_for(tmp_path: Path) -> None:
    words = f"setsid sleep 30 & echo $! > {tmp_path}/pid; echo said"
    begun = time.monotonic()
    done = proc.run(["sh", "-c", words], timeout_s=20)
    assert done.stdout == "said\n"
    assert time.monotonic() - begun < 10
    child = proc.identify(int((tmp_path / "pid").read_text()))
    assert child is not None
    assert proc.end(child)


def test_a_program_that_closes_its_outputs_and_goes_on_meets_its_deadline() -> None:
    with pytest.raises(CommandError, match="did not end within 1 s"):
        proc.run(["sh", "-c", "exec sleep 60 >&- 2>&-"], timeout_s=1)


def test_much_input_and_much_output_go_side_by_side() -> None:
    text = "0123456789abcdef" * (1 << 19)
    assert proc.run(["cat"], timeout_s=30, stdin=text).stdout == text


def test_input_that_is_not_read_harms_nobody() -> None:
    assert proc.run(["true"], timeout_s=30, stdin="x" * (1 << 20)).status == 0


def test_the_bytes_are_there_as_they_came() -> None:
    done = proc.run(["printf", r"a\r\n\377\376b"], timeout_s=10)
    assert done.stdout_bytes == b"a\r\n\xff\xfeb"
    assert done.stdout == "a\n\ufffd\ufffdb"


def test_an_endless_line_of_a_conversation_is_cut(tmp_path: Path) -> None:
    lines: list[str] = []
    words = "import sys\nfor _ in range(64): sys.stdout.write('x' * (1 << 20))\nprint(); print('after')"
    proc.run_with_progress([sys.executable, "-c", words], stdin="go\n", timeout_s=60, grace_s=1, on_line=lines.append)
    assert [len(line) for line in lines] == [1 << 20, 5]
