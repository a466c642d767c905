"""A campaign of a thousand shards on nodes without machines: right verdicts, and nothing of it is left.

PTP_HARNESS_TEST_SHARDS=10000 tries ten thousand, as `make soak` does. The coordinators are real pods; what the pods of
the suite would write is written by processes that claim hosts by the same code.
"""

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from harness.campaign import campaign
from harness.cluster.jobs import OURS, PodOptions, make_coordinator
from harness.store.ledger_check import check
from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, draw_name
from tests.cluster.conftest import SPACE, Team
from tests.programs import shard_pods
from tests.servers import kwok, scripted_image

SHARDS = int(os.environ.get("PTP_HARNESS_TEST_SHARDS", "1000"))
ENDS_WITHIN_S = 240 + SHARDS / 10

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2 * ENDS_WITHIN_S), pytest.mark.xdist_group("guests")]


def submit(team: Team, types: list[str]) -> str:
    """Submit a campaign of a pod for each host, whose suite waits in a queue; return the name of the run."""
    run = draw_name(SUBMITTED_RUN_CHARACTERS)
    request = campaign.from_mapping({"bench": "lab", "instance_types": types, "parallel": len(types)})
    options = PodOptions(image=scripted_image.NAME, pull="Never", queue="fake")
    team.admin.create(make_coordinator(run, request, options, hosts_per_pod=1), namespace=SPACE)
    return run


def test_many_shards_have_the_right_verdicts_and_leave_nothing(
    team: Team, record_property: Callable[[str, object], None]
) -> None:
    kwok.add_nodes(team.cluster, 1 + SHARDS // 2000)
    types = ["bad" if number % 7 == 0 else "good" for number in range(SHARDS)]
    begun = time.monotonic()
    run = submit(team, types)
    job = kwok.admit(team.admin, SPACE, run)
    with shard_pods.shard_pods(team.ledger_url, run, 2) as pods:
        shard_pods.follow_pods(pods, lambda: kwok.count_made(team.admin, SPACE, job), SHARDS)
        claimed = shard_pods.count_claimed(pods)
    team.cluster.wait_for(lambda: team.has_ended(run), "the run ends", within_s=ENDS_WITHIN_S)
    seconds = time.monotonic() - begun
    record_property("counted", f"{SHARDS} shards in {seconds:.0f} s, from the submission to the end of the run")
    assert sum(claimed) == SHARDS
    require_right_verdicts(team, run, types)
    done = team.call("clean", run)
    assert (done.returncode, done.stdout) == (0, f"{run}\n"), done.stderr
    for kind in (Job, Pod, PodDisruptionBudget):
        team.cluster.wait_for(
            lambda kind=kind: not list(team.admin.list(kind, namespace=SPACE, labels=OURS)),  # type: ignore[misc]
            f"no {kind.__name__} is left",
            within_s=ENDS_WITHIN_S,
        )


def require_right_verdicts(team: Team, run: str, types: list[str]) -> None:
    """Each host has the verdict of its type, of its only attempt."""
    ledger = team.open_ledger()
    try:
        hosts, record = ledger.hosts(run), ledger.record(run)
        texts = [each.event.text for each in ledger.events(run, most=100_000)]
        assert check(ledger).faults == ()
    finally:
        ledger.close()
    assert record is not None
    assert Counter(line.instance_type for line in hosts) == Counter(types)
    assert {line.attempt for line in hosts} == {1}
    wrong = {
        host.name: str(host.verdict.outcome)
        for host in record.hosts
        if (str(host.verdict.outcome) == "PASS") is not host.instance_type.startswith("good")
    }
    assert wrong == {}
    made = [text for text in texts if text.startswith("suite shared: ") and " pods, Job " in text]
    assert [text.partition(",")[0] for text in made] == [f"suite shared: {len(types)} pods"], "no pod was made twice"
