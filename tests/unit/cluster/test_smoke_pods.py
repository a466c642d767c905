"""What the pods of `cluster smoke` see and print, and what is made of it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from lightkube.resources.core_v1 import Pod

from harness.benches.bench import Check
from harness.cluster import pod_settings
from harness.cluster.node_clocks import NodeLook, Survey, describe_clocks
from harness.cluster.pod_probe import look_at_secret
from harness.cluster.pod_states import PodTrouble
from harness.cluster.probe_document import read_probe
from harness.system.settings import LEDGER_URL_FILE

GOOD = Check(name="clock", ok=True, observed="-0.001 s from that of the ledger's server")
BAD = Check(name="clock", ok=False, observed="+5.000 s from that of the ledger's server", remedy="synchronise it")


def test_a_document_is_read_whole_or_not_at_all() -> None:
    lines = json.dumps([asdict(GOOD), asdict(BAD)], indent=2).splitlines()
    assert read_probe(lines) == [GOOD, BAD]
    for cut in range(len(lines)):
        assert read_probe(lines[:cut]) is None, "a pod that has not printed all of it yet"


@pytest.mark.parametrize("text", ["", "5", "[5]", '{"name": 1}', "[" * 100_000, '[{"name": "a"}]', "Traceback ..."])
def test_another_text_is_none(text: str) -> None:
    assert read_probe(text.splitlines()) is None


def test_what_a_pod_says_is_bounded_and_plain() -> None:
    wild = {"name": "\x1b[31m" + "n" * 999, "ok": 1, "observed": "o\x07" * 9999, "remedy": None}
    (check,) = read_probe([json.dumps([wild] * 200)])[:1]  # type: ignore[index]
    assert len(read_probe([json.dumps([wild] * 200)]) or ()) == 100
    assert check.ok is False, "true alone is"
    assert "\x1b" not in check.name
    assert "\x07" not in check.observed
    assert len(check.name) < 100
    assert len(check.observed) < 500


@pytest.mark.parametrize(
    ("keys", "observed"),
    [
        ((), "the secret ptp-harness is not there, or has no key"),
        (("signing-key",), "the secret ptp-harness has no key ledger-url and no key evidence-url"),
        (("ledger-url",), "the secret ptp-harness has no key evidence-url"),
        (
            ("ledger-url", "evidence-url"),
            "ptp-harness has evidence-url, ledger-url; campaigns on EC2 need signing-key, too",
        ),
        (("ledger-url", "evidence-url", "signing-key"), "ptp-harness has evidence-url, ledger-url, signing-key"),
    ],
)
def test_the_keys_of_the_secret_are_named_and_never_their_values(
    tmp_path: Path, keys: tuple[str, ...], observed: str
) -> None:
    (tmp_path / "..data").mkdir()
    for key in keys:
        (tmp_path / "..data" / key).write_text("secret")
        (tmp_path / key).symlink_to(f"..data/{key}")
    check = look_at_secret(tmp_path)
    assert check.observed == observed
    assert check.ok is observed.startswith("ptp-harness has")
    assert bool(check.remedy) is not check.ok
    assert "secret\n" not in check.observed


def test_a_pod_without_the_key_of_the_ledger_still_looks(tmp_path: Path) -> None:
    environ = {LEDGER_URL_FILE: str(tmp_path / "ledger-url"), "HOME": str(tmp_path)}
    assert pod_settings.load_what_is_there(environ, tmp_path).ledger is None
    (tmp_path / "ledger-url").write_text("postgresql://db.example/ptp")
    assert pod_settings.load_what_is_there(environ, tmp_path).ledger is not None


def describe(survey: Survey, most: int | None = None) -> dict[str, Check]:
    return {check.name: check for check in describe_clocks(survey, most)}


def make_survey(*checks: Check | None, two: bool = True, no_more: PodTrouble | None = None) -> Survey:
    nodes = {f"node-{number}": NodeLook(Pod(), check) for number, check in enumerate(checks, start=1)}
    return Survey(nodes=nodes, pods=len(nodes), two=two, no_more=no_more)


def test_all_clocks_are_right() -> None:
    (check,) = describe(make_survey(GOOD, GOOD)).values()
    assert check.ok
    assert check.observed == "2 of 2 nodes: node-1 -0.001 s, node-2 -0.001 s; from that of the ledger's server"


def test_a_clock_that_is_wrong_and_a_node_that_did_not_say_are_named() -> None:
    checks = describe(make_survey(GOOD, BAD, None))
    assert [name for name, check in checks.items() if not check.ok] == [
        "node node-2",
        "node node-3",
        "clocks of the nodes",
    ]
    assert checks["node node-2"].observed == BAD.observed
    assert "did not say" in checks["node node-3"].observed
    assert checks["clocks of the nodes"].observed.startswith("1 of 3 nodes: node-1 ")


def test_nodes_that_could_not_be_looked_at_are_no_pass() -> None:
    full = PodTrouble(
        "pod a has no node: 0/3 nodes are available: 1 Insufficient memory", lasting=False, remedy="more nodes"
    )
    (check,) = describe(make_survey(GOOD, GOOD, two=False, no_more=full)).values()
    assert not check.ok
    assert check.observed == f"of 2 nodes alone: {full.text}"
    assert check.remedy == "more nodes; or `--nodes 2` for these alone"
    assert not describe(make_survey(two=False))["clocks of the nodes"].ok, "no node at all"


def test_so_many_nodes_as_were_asked_for_are_enough() -> None:
    (check,) = describe(make_survey(GOOD, GOOD, two=False), most=2).values()
    assert check.ok
    assert "(--nodes 2)" in check.observed
