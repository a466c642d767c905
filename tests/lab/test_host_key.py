"""A host comes by a key of its own, on a guest with a real sshd, and through every cut."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import wiring
from harness.benches.bench import Progress
from harness.benches.lab.bench import LabBench
from harness.campaign import campaign, run_plan
from harness.errors import HarnessError
from harness.host import host_key, ssh
from harness.host.playbooks import Target
from harness.model import Machine, Token
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Prepared
from harness.system import proc, settings

from .conftest import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

KEY = "/etc/ssh/ssh_host_ed25519_key"


@pytest.fixture
def target(provision: Callable[[str, str], Host], tmp_path: Path) -> Iterator[Target]:
    """A guest as a bench hands it out that has told everybody its host key."""
    host = provision("a", "lab.driver-off")
    machine = replace(host.machine, rotated_key=str(tmp_path / "identity" / "known_hosts"))
    with ssh.shared_connection() as control:
        yield Target(machine=machine, known_hosts=host.known_hosts, control=control)


def run(target: Target, *words: str) -> str:
    return proc.run(target.command(*words), timeout_s=60).stdout.strip()


def store(target: Target) -> Path:
    return Path(str(target.machine.rotated_key))


def rotated(target: Target) -> Target:
    return host_key.rotate_host_key(target, progress=print, pause=lambda _seconds: None)


def answers_to(target: Target, line: str, tmp_path: Path) -> bool:
    """Whether a new connection that trusts this line alone comes about."""
    known = tmp_path / "one"
    known.write_text(line + "\n")
    return proc.run(ssh.build_command(target.machine, known, "true"), timeout_s=60, check=False).status == 0


def check_changed(before: Target, after: Target, tmp_path: Path) -> None:
    old, new = before.machine.known_host.splitlines()[0], after.machine.known_host
    assert old != new
    assert (answers_to(after, old, tmp_path), answers_to(after, new, tmp_path)) == (False, True)
    assert after.known_hosts.read_text() == store(after).read_text() == new + "\n"
    assert run(after, "cat", f"{KEY}.pub") == " ".join(new.split()[1:])
    assert run(after, "sh", "-c", f"stat -c '%a %U' {KEY}; ls {KEY}*; sshd -t && echo right").splitlines() == [
        "600 root",
        KEY,
        f"{KEY}.pub",
        "right",
    ]


def test_the_key_that_others_know_is_worth_nothing_afterwards(target: Target, tmp_path: Path) -> None:
    after = rotated(target)
    check_changed(target, after, tmp_path)
    assert stat.S_IMODE(store(after).stat().st_mode) == 0o600
    assert [path.name for path in store(after).parent.iterdir()] == ["known_hosts"]
    assert rotated(after) is after, "once is enough"
    again = rotated(replace(after, machine=replace(after.machine, rotated_key=str(tmp_path / "lost" / "known_hosts"))))
    assert again.machine.known_host != after.machine.known_host, "a host of which nothing was kept gets another one"


def test_every_cut_is_mended_by_doing_it_again(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = proc.run
    first = target.machine.known_host
    seen: list[str] = []

    def cut_at(step: int) -> None:
        """We die before (even) or after (odd) a step on the host: make, serve, the look whether it is served."""
        left = [step]

        def run_or_die(argv: list[str], **more: object) -> proc.Completed:
            if "-O" in argv:
                return asked(argv, **more)  # type: ignore[arg-type]
            left[0] -= 2
            if left[0] == -2:
                raise KeyboardInterrupt
            done = asked(argv, **more)  # type: ignore[arg-type]
            if left[0] == -1:
                raise KeyboardInterrupt
            return done

        monkeypatch.setattr(proc, "run", run_or_die)

    current = target
    for step in range(6):
        cut_at(step)
        with pytest.raises(KeyboardInterrupt):
            rotated(current)
        monkeypatch.setattr(proc, "run", asked)
        ssh.close_connection(current.control)
        lines = store(current).read_text().strip() if store(current).exists() else first
        current = replace(current, machine=replace(current.machine, known_host=lines))  # as its bench finds it again
        current.known_hosts.write_text(lines + "\n")
        seen.append(str(len(lines.splitlines())))
        reached = ssh.wait_for_login(  # as whoever goes on does: sshd may be starting anew just now
            current.machine, current.known_hosts, tries=5, first_backoff_s=0.2, progress=print
        )
        assert reached.reached, f"after a cut at step {step} no pinned key is served: {reached.detail}"
        assert run(current, "echo", "here") == "here"
        ssh.close_connection(current.control)
    assert seen == ["1", "1", "2", "2", "2", "2"]
    after = rotated(current)
    check_changed(target, after, tmp_path)


def test_a_host_that_cannot_is_told_of(target: Target) -> None:
    before = target.known_hosts.read_text()
    run(target, "sh", "-c", "mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh")
    with pytest.raises(HarnessError, match=r"the host did not make a new host key: .*Read-only file system"):
        rotated(target)
    run(target, "sh", "-c", f"umount /etc/ssh && rm {KEY}")
    with pytest.raises(HarnessError, match="the host did not make a new host key: "):
        rotated(target)
    assert target.known_hosts.read_text() == before
    assert not store(target).exists()


class Telling(LabBench):
    """A lab whose hosts begin with a key that others may have seen, as those of EC2 do."""

    kept: Path

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        return replace(super().provision(token, instance_type, progress), rotated_key=str(self.kept))


def test_a_run_goes_on_by_the_new_key(tmp_path: Path) -> None:
    configuration = settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")})
    bench, ledger = Telling(configuration), wiring.ledger(configuration)
    bench.kept = tmp_path / "identity" / "known_hosts"
    asked = campaign.from_mapping({"instance_types": ["lab.phc"], "depth": "quick", "read_only": True})
    prepared = Prepared(bench=bench, plan=run_plan.make_plan(asked, bench.types(), now=datetime.now(UTC)))
    record = campaign_run.start(prepared, ledger, configuration, RunControls(listener=print))
    [host] = record.hosts
    assert host.facts is not None, host.verdict.sentence
    pinned = bench.kept.read_text()
    assert len(pinned.splitlines()) == 1
    assert (configuration.runs_dir / record.run / host.name / "known_hosts").read_text() == pinned
    assert bench.resources() == []
