"""The names of schedules and of the runs that they submit."""

import pytest

from harness.cluster.cron_jobs import check_schedule_name
from harness.cluster.jobs import name_schedule
from harness.errors import RequestError
from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, derive_name
from harness.untrusted import names

_MOST_CRON_JOB_CHARACTERS = 52
"""Kubernetes refuses a CronJob with a longer name."""


@pytest.mark.parametrize("name", ["nightly", "c8-weekly", "a", "7", "a" * 39])
def test_a_name_of_a_schedule_is_one_of_a_cron_job(name: str) -> None:
    check_schedule_name(name)
    assert len(name_schedule(name)) <= _MOST_CRON_JOB_CHARACTERS


@pytest.mark.parametrize("name", ["", "Nightly", "-a", "a-", "a.b", "a_b", "a" * 40, "a\n", "{{a}}"])
def test_other_texts_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match="is no name of a schedule of a cluster"):
        check_schedule_name(name)


def test_a_job_submits_the_same_run_however_often_it_is_tried() -> None:
    jobs = [f"2cf7b0b4-0000-4000-8000-{number:012}" for number in range(2000)]
    derived = [derive_name(job, SUBMITTED_RUN_CHARACTERS) for job in jobs]
    assert derived == [derive_name(job, SUBMITTED_RUN_CHARACTERS) for job in jobs]
    assert len(set(derived)) == len(jobs)
    assert {len(name) for name in derived} == {SUBMITTED_RUN_CHARACTERS}
    assert all(names.fits(names.RUN, name) for name in derived)
