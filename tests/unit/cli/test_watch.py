"""`show --watch` in a terminal of its own, of a run whose samples a program writes as time goes on."""

import codecs
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import stored
from harness.campaign.campaign import from_mapping
from harness.errors import ExitCode
from harness.model import HostState, RunRecord, Stage, Token
from harness.store.evidence_folder import EvidenceFolder, partial_path
from harness.store.ledger import Ledger
from tests.doubles.terminal_screen import TerminalScreen

pytestmark = pytest.mark.programs

Call = Callable[..., "subprocess.CompletedProcess[str]"]
DATA = Path(__file__).parents[2] / "data" / "lab" / "drifting"
LINES = (DATA / "samples.jsonl").read_text().splitlines(keepends=True)
CAPTION = "system clock minus PHC"


class Terminal:
    """The command in a terminal, and the screen that it draws on."""

    def __init__(self, folder: Path, words: list[str], environ: dict[str, str], size: tuple[int, int]) -> None:
        self.screen = TerminalScreen(*size)
        self._ours, theirs = pty.openpty()
        self.settings = termios.tcgetattr(theirs)
        self.resize(*size)
        usual = {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PTP_HARNESS_STATE_DIR": str(folder / "state")}
        without = ("NO_COLOR", "COLUMNS", "LINES")
        env = {name: value for name, value in os.environ.items() if name not in without} | usual | environ
        argv = [sys.executable, "-m", "harness", *words]
        self.child = subprocess.Popen(
            argv,
            env=env,
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._theirs = theirs
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # Ctrl-C may cut a character in two

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if ready:
            self.screen.feed(self._decoder.decode(os.read(self._ours, 65536)))

    def wait_for(self, is_shown: Callable[[TerminalScreen], bool], within_s: float = 60) -> str:
        give_up = time.monotonic() + within_s
        while not is_shown(self.screen):
            assert time.monotonic() < give_up, self.screen.text()
            self.read(0.2)
        return self.screen.text()

    def end(self, within_s: float = 60) -> int:
        """Wait for the command's end; return its exit code."""
        give_up = time.monotonic() + within_s
        while self.child.poll() is None:
            assert time.monotonic() < give_up, self.screen.text()
            self.read(0.1)
        while select.select([self._ours], [], [], 0)[0]:
            self.read(0)
        assert termios.tcgetattr(self._theirs) == self.settings
        return self.child.wait()

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self._ours)
        os.close(self._theirs)


class Measuring:
    """A run of one host that is being measured, whose samples this test writes."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        document = stored.to_document(from_mapping({"instance_types": ["lab.drifting"]}))
        self.run = ledger.open_run(bench="lab", campaign=document, hosts={"lab.drifting": "lab.drifting"})
        self.token: Token = ledger.own_host(self.run, "lab.drifting").token
        self.folder = EvidenceFolder.create(folder / "state" / "runs" / self.run).host("lab.drifting")
        self.folder.write("attempt", "1\n")
        self._step = ledger.begin_step(self.token, Stage.MEASURE)
        self._written = 0

    def write(self, lines: int, *, half: bool = False) -> None:
        """Write so many further lines, and half of another one."""
        text = "".join(LINES[self._written : self._written + lines])
        self._written += lines
        with partial_path(self.folder.path / "samples.jsonl").open("a") as file:
            file.write(text + (LINES[self._written][:900] if half else ""))

    def end(self) -> None:
        partial_path(self.folder.path / "samples.jsonl").replace(self.folder.path / "samples.jsonl")
        self._ledger.end_step(self._step, "done")
        (earlier,) = [host for host in self._ledger.record("3a5r").hosts if host.name == "lab.phc"]  # type: ignore[union-attr]
        record = replace(earlier, name="lab.drifting", instance_type="lab.drifting", state=HostState.RELEASED)
        self._ledger.record_state(self.token, record)
        run = RunRecord(
            run=self.run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(record,), leftovers=()
        )
        self._ledger.close_run(run)


@pytest.fixture
def measuring(ledger: Ledger, tmp_path: Path) -> Measuring:
    return Measuring(ledger, tmp_path)


Watch = Callable[..., Terminal]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Starts `show ... --watch` in a terminal of a size, 80x24 by default."""
    terminals: list[Terminal] = []

    def start(*words: str, size: tuple[int, int] = (80, 24), **environ: str) -> Terminal:
        terminals.append(Terminal(tmp_path, ["show", *words, "--watch"], environ, size))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@contextmanager
def at_once(within_s: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < within_s


def test_a_run_is_drawn_as_it_grows_and_its_verdicts_come_last(watch: Watch, measuring: Measuring) -> None:
    terminal = watch(measuring.run)
    text = terminal.wait_for(lambda screen: "being measured: lab.drifting" in screen.text())
    assert text.splitlines()[0] == f"run {measuring.run} on lab: 1 host being measured"
    measuring.write(11)
    text = terminal.wait_for(lambda screen: "10 s of 1 min" in screen.text())
    assert terminal.screen.on_other_screen
    assert not terminal.screen.cursor_shown
    assert CAPTION in text
    assert "source PHC0" in text
    measuring.write(10, half=True)
    terminal.wait_for(lambda screen: "20 s of 1 min" in screen.text())
    measuring.end()
    assert terminal.end() == 0
    lines = terminal.screen.text().splitlines()
    assert not terminal.screen.on_other_screen
    assert terminal.screen.cursor_shown
    assert lines[:2] == [f"run {measuring.run} on lab: ended", "lab.drifting  20 s of 1 min"]
    assert lines.count(CAPTION) == 1, "one last drawing, and no leftovers"
    verdict = lines.index("lab.drifting: PASS synchronised")
    assert lines[verdict - 1] == ""
    assert "measure" in lines[-1]


def test_ctrl_c_ends_at_once_and_leaves_nothing(watch: Watch, measuring: Measuring) -> None:
    measuring.write(5)
    terminal = watch(measuring.run)
    terminal.wait_for(lambda screen: CAPTION in screen.text())
    with at_once(within_s=10):  # the machine may be busy; the command itself waits for nothing
        terminal.type(b"\x03")
        assert terminal.end() == ExitCode.INTERRUPTED
    assert terminal.screen.text() == ""
    assert terminal.screen.cursor_shown
    assert not terminal.screen.on_other_screen


def test_a_resized_window_is_drawn_anew(watch: Watch, measuring: Measuring) -> None:
    measuring.write(31)
    terminal = watch(measuring.run, size=(120, 40))
    terminal.wait_for(lambda screen: CAPTION in screen.text())
    for columns, rows in ((40, 24), (80, 24), (20, 6), (200, 50)):
        terminal.screen.resize(columns, rows)
        terminal.resize(columns, rows)  # which sends SIGWINCH
        drawn = terminal.screen.drawings + 2  # one may be on its way
        text = terminal.wait_for(lambda screen, drawn=drawn: screen.drawings > drawn)  # type: ignore[misc]
        lines = text.splitlines()
        assert len(lines) < rows
        assert lines[0].startswith(f"run {measuring.run} on lab: 1")
        assert "30 s of 1 min"[: columns - 14] in text
        assert (CAPTION in text) == (rows > 6)


def test_ctrl_z_gives_the_terminal_back_until_the_command_goes_on(watch: Watch, measuring: Measuring) -> None:
    """A process without a shell above it is not stopped (POSIX, orphaned process group): it goes on at once."""
    measuring.write(5)
    terminal = watch(measuring.run)
    terminal.wait_for(lambda screen: CAPTION in screen.text())
    terminal.type(b"\x1a")
    terminal.wait_for(lambda screen: screen.entered == 2 and CAPTION in screen.text())
    assert terminal.screen.on_other_screen
    assert not terminal.screen.cursor_shown
    terminal.type(b"\x03")
    assert terminal.end() == ExitCode.INTERRUPTED


def test_a_signal_to_stop_gives_the_terminal_back(watch: Watch, measuring: Measuring) -> None:
    terminal = watch(measuring.run)
    terminal.wait_for(lambda screen: screen.drawings > 0)
    terminal.child.send_signal(signal.SIGTERM)
    assert terminal.end() == ExitCode.INTERRUPTED
    assert terminal.screen.text() == ""
    assert terminal.screen.cursor_shown


def test_no_color_and_a_terminal_without_braille(watch: Watch, measuring: Measuring) -> None:
    measuring.write(31)
    terminal = watch(measuring.run, NO_COLOR="1", LC_ALL="C")
    text = terminal.wait_for(lambda screen: CAPTION in screen.text())
    assert text.isascii()
    assert terminal.screen.colours == 0
    other = watch(measuring.run)
    assert not other.wait_for(lambda screen: CAPTION in screen.text()).isascii()
    assert other.screen.colours > 0


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(watch: Watch, measuring: Measuring) -> None:
    measuring.write(11)
    terminal = watch(measuring.run, TERM="dumb", size=(160, 60))
    terminal.wait_for(lambda screen: "lab.drifting 10 s of 1 min: offset " in screen.text())
    measuring.end()
    assert terminal.end() == 0
    assert (terminal.screen.drawings, terminal.screen.colours) == (0, 0)
    lines = terminal.screen.text().splitlines()
    assert lines[0].startswith("lab.drifting 10 s of 1 min: offset ")
    assert CAPTION in lines
    assert "lab.drifting: PASS synchronised" in lines


def test_no_text_of_a_host_reaches_the_terminal(watch: Watch, measuring: Measuring) -> None:
    name = "\x1b]52;c;cHduZWQ=\x07\x1b[2J\u202e\u6642"
    record = json.loads(LINES[1])
    record["chronyc"]["out"] = record["chronyc"]["out"].replace("PHC0", name)
    with partial_path(measuring.folder.path / "samples.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    terminal = watch(measuring.run)
    text = terminal.wait_for(lambda screen: CAPTION in screen.text())
    assert "source \\x1b]52;c;cHduZWQ=\\x07\\x1b[2J" in text


def test_a_run_that_has_ended_is_drawn_once(watch: Watch, measuring: Measuring) -> None:
    measuring.write(len(LINES))
    measuring.folder.write("facts.json", (DATA / "facts.json").read_text())
    measuring.end()
    terminal = watch(measuring.run, "lab.drifting", size=(40, 24))
    assert terminal.end() == 0
    lines = terminal.screen.text().splitlines()
    assert lines[:2] == [f"run {measuring.run} on lab: ended", "lab.drifting  1 min of 1 min"]
    assert lines.count(CAPTION) == 1
    assert terminal.screen.drawings == 0


def test_a_run_whose_samples_are_elsewhere_is_told_so(watch: Watch, ledger: Ledger) -> None:
    terminal = watch("3a5r")
    assert terminal.end() == ExitCode.BAD_REQUEST
    assert "the samples of run 3a5r are not on this machine" in terminal.screen.text()
    assert CAPTION not in terminal.screen.text()


def test_a_host_whose_samples_another_machine_has_is_told_so(watch: Watch, measuring: Measuring) -> None:
    measuring.folder.write("attempt", "7\n")
    terminal = watch(measuring.run)
    terminal.wait_for(lambda screen: "measured on another machine, which has the samples" in screen.text())


def test_a_pipe_is_refused_and_pointed_to_follow(call_process: Call, measuring: Measuring) -> None:
    done = call_process("show", measuring.run, "--watch")
    assert (done.returncode, done.stdout) == (ExitCode.BAD_REQUEST, "")
    assert done.stderr.splitlines() == [
        "ptp-harness: --watch draws on a terminal, and standard output is none",
        f"  next: `ptp-harness show {measuring.run} --follow` prints the run's events line by line",
    ]


@pytest.mark.parametrize("other", ["--follow", "--json"])
def test_watch_goes_without_follow_and_json(call: Call, ledger: Ledger, other: str) -> None:
    done = call("show", "3a5r", "--watch", other)
    assert (done.returncode, done.stdout) == (ExitCode.BAD_REQUEST, "")
    assert "--watch draws for people, without --follow and --json" in done.stderr
