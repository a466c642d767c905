"""Evidence in a store: sent whole or not at all, again after every kill, and read back elsewhere as it was."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import RequestError, SetupError
from harness.model import Token
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run, helping
from harness.runs.evidence_sending import describe_waiting
from harness.runs.prepare import Benches, prepare_resolved
from harness.store.database import now_ns
from harness.store.evidence_fetch import FoundEvidence
from harness.store.evidence_folder import SUMS, EvidenceFolder
from harness.store.evidence_outbox import Outbox, OutboxEntry
from harness.store.evidence_parts import make_run_folder
from harness.store.object_store import ObjectStore
from harness.store.tables import OWNERS
from harness.system.settings import assets_dir
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.evidence_machine import Machine, content
from tests.servers import s3


@pytest.fixture(autouse=True)
def without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_ssh(monkeypatch)
    monkeypatch.setattr("harness.store.object_store.TRIES", 2)


MakeMachine = Callable[..., Machine]


@pytest.fixture
def machine(evidence_url: str, tmp_path: Path) -> MakeMachine:
    return lambda name, url=evidence_url: Machine(tmp_path, name, url)


def prefix(machine: Machine, run: str) -> str:
    return make_run_folder(run, machine.ledger.find(run).started_ns)


def overwrite(store: ObjectStore, name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "forged").write_bytes(data)
    store.put_file(name, tmp_path / "forged")


def test_a_run_s_evidence_is_in_the_store_and_another_machine_reads_it(machine: MakeMachine) -> None:
    leader, other = machine("leader"), machine("other")
    record = leader.run()
    assert record.evidence_unsent is None
    assert leader.waiting() == []
    assert f"the evidence of run {record.run} is in {leader.sender().store.label}: " in leader.told()
    found = other.find(record.run)
    assert (found.fetched, found.missing) == (True, ())
    assert content(found.folder) == content(leader.folder(record.run))
    assert EvidenceFolder(found.folder).list_changed() == []
    assert {"report.txt", "report.json", "events.jsonl", "campaign.json", "good/attempt"} <= set(content(found.folder))
    assert (leader.find(record.run).folder, leader.find(record.run).fetched) == (leader.folder(record.run), False)
    assert EvidenceFolder(leader.folder(record.run)).list_changed() == [], "sending changes nothing here"


def test_what_was_fetched_is_used_again_unless_it_was_changed(machine: MakeMachine) -> None:
    leader, other = machine("leader"), machine("other")
    run = leader.run().run
    folder = other.find(run).folder
    before = (folder / SUMS).stat().st_ino
    assert (other.find(run).folder / SUMS).stat().st_ino == before
    (folder / "report.txt").write_text("changed")
    assert content(other.find(run).folder) == content(leader.folder(run))


def test_without_a_store_nothing_is_sent_and_nothing_waits(machine: MakeMachine) -> None:
    alone = machine("alone", None)
    record = alone.run()
    assert (record.evidence_unsent, alone.waiting()) == (None, [])
    assert alone.find(record.run) == FoundEvidence(folder=alone.folder(record.run), fetched=False)
    elsewhere = machine("elsewhere", None).find(record.run)
    assert elsewhere.missing == ("good", "bad")


def test_a_host_of_a_helper_is_sent_by_the_helper(machine: MakeMachine) -> None:
    leader, helper, other = machine("leader"), machine("helper"), machine("other")
    begun, goes_on = threading.Event(), threading.Event()
    provision = leader.bench.provision

    def wait_after(*arguments: object) -> object:
        made = provision(*arguments)  # type: ignore[arg-type]
        begun.set()
        assert goes_on.wait(120)
        return made

    leader.bench.provision = wait_after  # type: ignore[method-assign,assignment]
    with ThreadPoolExecutor(1) as pool:
        try:
            leading = pool.submit(leader.run)
            assert begun.wait(120)
            run = leader.ledger.runs()[0].run
            records = helping.help_with(run, helper.prepared(), helper.ledger, helper.settings, helper.controls)
        finally:
            goes_on.set()
        record = leading.result()
    assert (len(records), record.evidence_unsent, helper.waiting(), leader.waiting()) == (1, None, [], [])
    (of_helper,) = records
    assert not (leader.folder(run) / of_helper).exists()
    for reader in (other, leader):
        found = reader.find(run)
        assert found.fetched
        assert content(found.folder / of_helper) == content(helper.folder(run) / of_helper)
        assert (found.folder / "report.json").read_bytes() == (leader.folder(run) / "report.json").read_bytes()


def test_a_helper_sends_each_host_s_evidence_once_it_is_judged(machine: MakeMachine) -> None:
    """A helper that is killed while it works on its second host takes nothing of its first one away."""
    types = ("good", "bad", "full")
    leader, helper = machine("leader"), machine("helper")
    begun, goes_on, begun_by_helper, seen = threading.Event(), threading.Event(), list[str](), list[bool]()
    provision_of_leader, provision = leader.bench.provision, helper.bench.provision

    def wait_for_the_helper(*arguments: object) -> object:
        begun.set()
        assert goes_on.wait(120)
        return provision_of_leader(*arguments)  # type: ignore[arg-type]

    def look_for_the_first(token: Token, *arguments: object) -> object:
        begun_by_helper.append(token.host)
        if len(begun_by_helper) == 2:
            sums = f"{prefix(helper, token.run)}/hosts/{begun_by_helper[0]}/1/{SUMS}"
            give_up_at = time.monotonic() + 20
            while not (there := helper.sender().store.read(sums, most=10_000)) and time.monotonic() < give_up_at:
                time.sleep(0.05)
            seen.append(bool(there))
        return provision(token, *arguments)  # type: ignore[arg-type]

    leader.bench.provision = wait_for_the_helper  # type: ignore[method-assign,assignment]
    helper.bench.provision = look_for_the_first  # type: ignore[method-assign,assignment]
    with ThreadPoolExecutor(1) as pool:
        try:
            leading = pool.submit(leader.run, types)
            assert begun.wait(120)
            run = leader.ledger.runs()[0].run
            prepared = helper.prepared(types=types)
            records = helping.help_with(run, prepared, helper.ledger, helper.settings, helper.controls)
        finally:
            goes_on.set()
        leading.result()
    assert (seen, {*records}) == ([True], {*begun_by_helper})


def test_evidence_that_is_not_whole_is_not_used(machine: MakeMachine) -> None:
    leader, other = machine("leader", None), machine("other")
    record = leader.run()
    with pytest.raises(RequestError, match=r"is not whole, neither on this machine nor in .*: the report, good, bad"):
        other.find(record.run)


class TestAway:
    """The store is away when a run ends, and comes back."""

    def test_the_run_ends_with_its_verdicts_and_its_evidence_is_sent_with_the_next(
        self, s3_server: s3.Server, bucket: str, tmp_path: Path
    ) -> None:
        leader, other = (Machine(tmp_path, name, f"s3://{bucket}/team") for name in ("leader", "other"))
        s3_server.stop()
        try:
            first = leader.run()
        finally:
            s3_server.start()
        assert first.evidence_unsent is not None
        assert first.evidence_unsent.startswith(f"s3://{bucket}/team cannot be reached for ")
        assert leader.ledger.record(first.run) == first
        assert [host.verdict.outcome for host in first.hosts] == ["PASS", "INCONCLUSIVE"]
        assert (first.failures, exit_code_of(first)) == ((), 3)
        assert "evidence not sent: " in text.summary(first)
        assert [entry.run for entry in leader.waiting()] == [first.run]
        assert describe_waiting(leader.waiting()[0], leader.ledger) == "the run has ended"
        with pytest.raises(RequestError, match="is not whole"):
            other.find(first.run)
        second = leader.run()
        assert (second.evidence_unsent, leader.waiting()) == (None, [])
        assert leader.ledger.record(first.run).evidence_unsent is None  # type: ignore[union-attr]
        for run in (first.run, second.run):
            assert content(other.find(run).folder) == content(leader.folder(run))

    def test_a_store_that_goes_away_in_the_middle_has_nothing_that_is_used(
        self, s3_server: s3.Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leader, other = (Machine(tmp_path, name, f"s3://{bucket}/team") for name in ("leader", "other"))
        put, puts = ObjectStore.put_file, list[str]()

        def put_and_stop(store: ObjectStore, name: str, file: Path) -> None:
            put(store, name, file)
            puts.append(name)
            if len(puts) == 3:
                s3_server.stop()

        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "put_file", put_and_stop)
            try:
                record = leader.run()
            finally:
                s3_server.start()
        assert (len(puts), record.evidence_unsent is None) == (3, False)
        with pytest.raises(RequestError, match="is not whole"):
            other.find(record.run)
        assert leader.sender().send_waiting(print) == []
        assert content(other.find(record.run).folder) == content(leader.folder(record.run))

    def test_a_url_that_cannot_be_used_is_refused_before_a_host_is_made(self, tmp_path: Path) -> None:
        leader = Machine(tmp_path, "leader", "nope://x")
        with pytest.raises(RequestError, match="nope:// is not known"):
            prepare_resolved(leader.prepared().campaign, leader.settings, _benches(leader))
        assert leader.ledger.runs() == []


def _benches(machine: Machine) -> Benches:
    return Benches(make_bench=lambda _campaign: machine.bench, resolve_types=lambda named, _campaign: named)


# --- again


def test_sending_again_changes_nothing_and_two_at_once_neither(
    machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, other = machine("leader", None), machine("other")
    run = leader.run().run
    senders = [Machine.sender(machine("leader")) for _ in range(3)]
    told: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        sent = [each.result() for each in [pool.submit(sender.send_run, run, told.append) for sender in senders]]
    assert sent == [[], [], []]
    assert content(other.find(run).folder) == content(leader.folder(run))
    puts: list[str] = []
    monkeypatch.setattr(ObjectStore, "put_file", lambda _store, name, _file: puts.append(name))
    senders[0].expect(leader.ledger.find(run), leads=True)
    assert senders[0].send_waiting(told.append) == []
    assert (puts, "files were there already" in told[-1]) == ([], True)


def test_a_run_whose_leader_still_writes_its_reports_waits(machine: MakeMachine) -> None:
    """Another run of the machine ends meanwhile."""
    leader = machine("leader", None)
    run = leader.run().run
    sums = leader.folder(run) / SUMS
    content_of_sums = sums.read_bytes()
    sums.unlink()
    sender = machine("leader").sender()
    sender.expect(leader.ledger.find(run), leads=True)
    assert sender.send_waiting(print) == []
    assert [entry.run for entry in leader.waiting()] == [run], "its process lives"
    sums.write_bytes(content_of_sums)
    assert sender.send_waiting(print) == []
    assert content(machine("other").find(run).folder) == content(leader.folder(run))


def test_a_leader_that_was_replaced_sends_nothing_in_the_name_of_the_next(
    machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, other = machine("first", None), machine("second", None), machine("other")
    with monkeypatch.context() as patch:
        patch.setattr(campaign_run, "qualify_hosts", lambda *_arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.run()
    run = first.ledger.runs()[0].run
    first.ledger.close()
    values = {"until_ns": now_ns() - 1, "place": "elsewhere"}
    second.ledger.database.write(
        lambda db: db.execute(OWNERS.update().where(OWNERS.c.owner == first.ledger.owner).values(values))
    )
    monkeypatch.setattr("harness.store.owners.LEASE_S", 1.0)
    campaign_run.resume(run, second.prepared(), second.ledger, second.settings, second.controls)
    assert machine("first").sender().send_run(run, print) == []
    assert machine("second").sender().send_run(run, print) == []
    assert (other.find(run).folder / "report.json").read_bytes() == (second.folder(run) / "report.json").read_bytes()


def test_other_evidence_of_the_same_run_stays(machine: MakeMachine) -> None:
    leader = machine("leader")
    record = leader.run()
    (leader.folder(record.run) / SUMS).unlink()
    (leader.folder(record.run) / "good" / "measure.txt").write_text("other")
    (unsent,) = leader.sender().send_run(record.run, print)
    assert "has other evidence of good of run " in unsent


def test_evidence_that_was_changed_since_its_run_ended_is_not_sent(machine: MakeMachine) -> None:
    leader = machine("leader", None)
    record = leader.run()
    (leader.folder(record.run) / "bad" / "measure.txt").write_text("other")
    (unsent,) = machine("leader").sender().send_run(record.run, print)
    assert f"{leader.folder(record.run)}/bad/measure.txt was changed since its run ended" in unsent


def test_evidence_for_another_store_waits_for_it(machine: MakeMachine, tmp_path: Path) -> None:
    leader = machine("leader")
    (tmp_path / "elsewhere").mkdir()
    line = leader.ledger.find(machine("leader", None).run().run)
    leader.sender().expect(line, leads=True)
    elsewhere = machine("leader", f"file://{tmp_path}/elsewhere").sender()
    assert elsewhere.send_waiting(print) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [entry.store for entry in leader.waiting()] == [leader.sender().store.label]


def test_links_hidden_files_and_files_of_others_are_not_sent(machine: MakeMachine, tmp_path: Path) -> None:
    leader, other = machine("leader", None), machine("other")
    run = leader.run().run
    (tmp_path / "secret").write_text("secret")
    (leader.folder(run) / "good" / "link").symlink_to(tmp_path / "secret")
    (leader.folder(run) / "good" / ".facts.json.partial").write_text("half")
    (leader.folder(run) / "good" / "my notes").write_text("mine")
    assert machine("leader").sender().send_run(run, print) == []
    assert {"good/link", "good/.facts.json.partial", "good/my notes"} & set(content(other.find(run).folder)) == set()


# --- killed


@pytest.mark.slow
def test_a_run_is_killed_at_points_of_its_sending_and_all_is_sent_later(
    evidence_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The program has no threads when it forks; `--every 1` tries all points."""
    arguments = [evidence_url, str(tmp_path / "trials"), "--every", "4"]
    argv = [sys.executable, "-m", "tests.programs.kill_senders", *arguments]
    done = subprocess.run(argv, cwd=assets_dir(), capture_output=True, text=True, timeout=800)
    told = json.loads(done.stdout.splitlines()[-1])
    record_property("counted", f"kills of a sender: {told['kills']}, store {evidence_url.partition(':')[0]}")
    assert (done.returncode, told["faults"]) == (0, []), done.stderr
    assert told["kills"] >= 8


# --- hostile


def test_an_object_that_was_changed_is_named_and_nothing_is_used(machine: MakeMachine, tmp_path: Path) -> None:
    leader, other = machine("leader"), machine("other")
    run = leader.run().run
    store, name = leader.sender().store, f"{prefix(leader, run)}/hosts/good/1/measure.txt"
    overwrite(store, name, b"forged", tmp_path)
    with pytest.raises(SetupError, match=f"{store.label}/{name} is not what was sent: its SHA-256 is ") as caught:
        other.find(run)
    assert "do not use it" in caught.value.next_step
    assert [path for path in other.settings.cache_dir.rglob("*") if path.is_file()] == []
    assert leader.sender().send_run(run, print) == []
    assert content(other.find(run).folder) == content(leader.folder(run)), "mended"


DIGEST = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "sums",
    [
        f"{DIGEST}  ../../../out\n",
        f"{DIGEST}  /etc/out\n",
        f"{DIGEST}  a/../../../out\n",
        f"{DIGEST}  .hidden\n",
        f"{DIGEST}  a\\..\\out\n",
        f"{DIGEST}  a b\n",
        f"{DIGEST}  a\n{DIGEST}  a/b\n",
        f"{DIGEST}  a\n{DIGEST}  a\n",
        f"{DIGEST}  SHA256SUMS\n",
        f"{DIGEST[:-1]}  a\n",
        f"{DIGEST.upper()}  a\n",
        f"{DIGEST} a\n",
        f"{DIGEST}  a\n\n",
        f"{DIGEST}  a\x00\n",
        f"{DIGEST}  a\u202e\n",
        "<html>\n",
    ],
)
def test_a_hostile_list_of_checksums_is_refused_and_writes_nothing(tmp_path: Path, sums: str) -> None:
    (tmp_path / "store").mkdir()
    leader, other = (Machine(tmp_path, name, f"file://{tmp_path}/store") for name in ("leader", "other"))
    run = leader.run().run
    store = leader.sender().store
    for part in ("run/1", "hosts/good/1"):
        kept = store.read(f"{prefix(leader, run)}/{part}/{SUMS}", most=9999) or b""
        overwrite(store, f"{prefix(leader, run)}/{part}/{SUMS}", sums.encode(), tmp_path)
        with pytest.raises(SetupError, match=f"{part}/SHA256SUMS is no list of checksums of evidence"):
            other.find(run)
        overwrite(store, f"{prefix(leader, run)}/{part}/{SUMS}", kept, tmp_path)
    assert [path for path in tmp_path.rglob("*out") if path.name == "out"] == []
    assert not other.settings.cache_dir.exists()


def test_a_report_reaches_into_no_host_s_folder(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    leader, other = (Machine(tmp_path, name, f"file://{tmp_path}/store") for name in ("leader", "other"))
    run = leader.run().run
    overwrite(leader.sender().store, f"{prefix(leader, run)}/run/1/{SUMS}", f"{DIGEST}  good/x\n".encode(), tmp_path)
    with pytest.raises(SetupError, match="is no list of checksums of evidence"):
        other.find(run)


def test_objects_that_are_missing_or_too_large_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    leader, other = (Machine(tmp_path, name, f"file://{tmp_path}/store") for name in ("leader", "other"))
    run = leader.run().run
    monkeypatch.setattr("harness.store.evidence_fetch.MOST_FILE_BYTES", 3)
    with pytest.raises(SetupError, match="has more than 3 bytes"):
        other.find(run)
    monkeypatch.undo()
    (tmp_path / "store" / prefix(leader, run) / "run/1/report.txt").unlink()
    with pytest.raises(SetupError, match=r"report\.txt is missing, and its list of checksums names it"):
        other.find(run)


@pytest.mark.parametrize("entry", ["", "[]", "{}", '{"run": "../x"}', "\xff", '{"run": "abcd", "started_ns": "x"}'])
def test_an_entry_that_cannot_be_read_is_left_out(tmp_path: Path, entry: str) -> None:
    outbox = Outbox(tmp_path)
    good = OutboxEntry(run="k3f9", started_ns=1, store="file:///x", leads=True, attempt=1)
    outbox.add(good)
    (next(tmp_path.iterdir()) / "abcd").write_text(entry, encoding="latin-1")
    (next(tmp_path.iterdir()) / ".k3f9.partial").write_text(json.dumps({}))
    assert outbox.list() == [good]
    outbox.remove(good)
    assert outbox.list() == []


def test_a_helper_does_not_take_over_the_entry_of_its_own_machine_s_leader(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    leads = OutboxEntry(run="k3f9", started_ns=1, store="file:///x", leads=True, attempt=1)
    helps = OutboxEntry(run="k3f9", started_ns=1, store="file:///x", leads=False, attempt=0)
    outbox.add(leads)
    outbox.add(helps)
    assert outbox.list() == [leads]
    outbox.remove(helps)
    assert outbox.list() == [leads]
