"""`cluster test` and what its pods do: bad requests are told before anything is made or run."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster.suites import SuiteKind
from harness.cluster.tier_store import SuiteResult, TierPlan, TierStore
from harness.cluster.tiers import TierSuite
from harness.store.object_store import open_store

Call = Callable[..., "subprocess.CompletedProcess[str]"]
SUITE = TierSuite(name="unit", tier="unit", kind=SuiteKind.SHARED, files=("tests/unit/test_docs.py",))
JUNIT = b'<testsuites><testsuite name="pytest" tests="2" failures="1" errors="0" skipped="0"/></testsuites>'


@pytest.fixture
def store(tmp_path: Path) -> TierStore:
    """A store in which a run of tests has begun."""
    (tmp_path / "store").mkdir()
    made = TierStore("k3f9mq", open_store(f"file://{tmp_path}/store"), lambda _: False)
    made.write_plan(TierPlan(suites=(SUITE,), marks="", parallel=1))
    return made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("test",), "no image of the tests is named for the pods"),
        (("test", "--registry", "registry.example", "--pull", "Maybe"), "--pull Maybe is no policy"),
        (("test", "--registry", "registry.example"), "there is no kubeconfig"),
        (("test-pod", "k3f9mq", "unit"), "no evidence store is named, which keeps the results of tests"),
        (
            ("test-pod", "k3f9mq", "nonsense", "--evidence", "file://{}/store"),
            "k3f9mq has no suite nonsense of tests",
        ),
        (("test-pod", "../..", "unit", "--evidence", "file://{}/store"), "this is no name of a run"),
    ],
)
def test_bad_requests(call: Call, store: TierStore, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    assert store.run == "k3f9mq"
    done = call("cluster", *(word.format(tmp_path) for word in words), KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 2
    assert message in done.stderr


def test_results_of_tests_are_read_from_the_store_alone(call: Call, store: TierStore, tmp_path: Path) -> None:
    evidence = ("--evidence", f"file://{tmp_path}/store")
    nowhere = {"KUBECONFIG": str(tmp_path / "none")}
    begun = call("cluster", "results", "k3f9mq", *evidence, **nowhere)
    assert (begun.returncode, "not begun" in begun.stdout) == (3, True)
    store.begin_attempt("unit", "pod-1")
    assert "no result yet (attempt 1)" in call("cluster", "results", "k3f9mq", *evidence, **nowhere).stdout
    early = call("cluster", "results", "k3f9mq", *evidence, "--output", "out", **nowhere)
    assert (early.returncode, "its reports are written at its end" in early.stderr) == (2, True)
    store.write_result("unit", SuiteResult(status=1, seconds=3.0, junit=JUNIT))
    so_far = call("cluster", "results", "k3f9mq", *evidence, **nowhere)
    assert (so_far.returncode, "1 failed, 0 errors, of 2 tests" in so_far.stdout) == (3, True)
    done = call("cluster", "test-pod", "k3f9mq", "unit", *evidence)
    assert (done.returncode, done.stderr) == (0, "suite unit has its result already\n")
