"""Faults in the middle of a campaign of lab hosts: the verdict all the same, or INCONCLUSIVE with the reason.

In each case the host is gone afterwards.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from harness.benches.lab.processes import process_tags
from harness.system import proc
from tests.lab.test_command import call, living, start, state, wait_for
from tests.servers.postgresql import Server

__all__ = ["state"]  # a fixture
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]
RUN = ("run", "lab.phc", "--duration", "40s")


def verdict(environ: dict[str, str]) -> tuple[str, str, str]:
    """The verdict of the only host, its sentence and the host's state; nothing is left of it."""
    assert call(environ, "sweep").stdout == "nothing is left\n"
    assert [name for name in living(environ["PTP_HARNESS_STATE_DIR"]) if "ansible" not in name] == []
    (host,) = json.loads(call(environ, "report", "last", "--json").stdout)["hosts"]
    return host["outcome"], host["sentence"], host["state"]


@pytest.mark.parametrize(
    "how",
    [pytest.param(signal.SIGINT, id="restarted", marks=pytest.mark.truth), pytest.param(signal.SIGQUIT, id="killed")],
)
def test_the_server_of_the_ledger_is_away_for_a_moment(
    how: signal.Signals, state: dict[str, str], own_server: Server, tmp_path: Path
) -> None:
    environ, log = state | {"PTP_HARNESS_LEDGER_URL": own_server.make_database("campaign")}, tmp_path / "log"
    child = start(environ, log, *RUN)
    wait_for(log, "measure", child)
    own_server.stop(how)
    time.sleep(5)
    own_server.start()
    assert child.wait(600) in (0, 3), log.read_text()
    outcome, sentence, state_of_host = verdict(environ)
    assert state_of_host == "released", log.read_text()
    # Beside other programs a guest's chronyd may be held up for longer than the limits want: the host's verdict.
    # A chronyd before 4.7 may drop the readings of a held-up guest for half a minute.
    noisy = [
        words in sentence
        for words in ("of at least 20 samples", "chrony's bound was refuted", "chronyd takes hardly any of them")
    ]
    assert outcome == "PASS" or any(noisy), log.read_text()
    assert len(call(environ, "samples", "last", "lab.phc").stdout.splitlines()) > 30


def signal_guest(number: signal.Signals) -> Callable[[dict[str, str]], None]:
    def send(environ: dict[str, str]) -> None:
        of_run = process_tags.running_processes(
            lambda tagged: str(tagged.folder).startswith(environ["PTP_HARNESS_STATE_DIR"])
        )
        (guest,) = [tagged for tagged in of_run if tagged.role == process_tags.GUEST]
        os.kill(guest.process.pid, number)

    return send


def kill_ansible(environ: dict[str, str]) -> None:
    state_dir, give_up_at = environ["PTP_HARNESS_STATE_DIR"], time.monotonic() + 60
    killed = False
    while not killed and time.monotonic() < give_up_at:
        for process in proc.find_by_environment("PTP_HARNESS_STATE_DIR", state_dir):
            with suppress(OSError):  # it has just ended
                if b"ansible-playbook" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    os.kill(process.pid, signal.SIGKILL)
                    killed = True
        time.sleep(0.05)
    assert killed


def kill_ssh_server(environ: dict[str, str]) -> None:
    call(environ, "ssh", "last", "lab.phc", "--", "systemctl stop ssh.socket ssh.service; pkill -9 sshd")


LOST = ["the host was lost in measure.yml", "the closing look at the host failed"]  # it may have ended just before


@pytest.mark.parametrize(
    ("moment", "fault", "reasons"),
    [
        pytest.param("measure", signal_guest(signal.SIGKILL), LOST, id="QEMU is killed"),
        pytest.param("measure", signal_guest(signal.SIGSTOP), LOST, id="the guest is frozen", marks=pytest.mark.truth),
        pytest.param(
            "configure", kill_ansible, ["Ansible was killed while it played configure.yml"], id="Ansible is killed"
        ),
        pytest.param("measure", kill_ssh_server, LOST, id="the guest's SSH server is killed", marks=pytest.mark.truth),
    ],
)
def test_a_host_that_fails_is_inconclusive_with_the_reason_and_is_gone(
    moment: str, fault: Callable[[dict[str, str]], None], reasons: Sequence[str], state: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    environ = state | {"PTP_HARNESS_SSH_TRIES": "2"}
    child = start(environ, log, *RUN)
    wait_for(log, moment, child)
    time.sleep(1)
    fault(environ)
    assert child.wait(900) == 3, log.read_text()
    outcome, sentence, state_of_host = verdict(environ)
    assert (outcome, state_of_host) == ("INCONCLUSIVE", "released"), log.read_text()
    assert any(reason in sentence for reason in reasons), sentence
