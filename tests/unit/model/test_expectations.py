"""A verdict that a campaign expects is no news, and any other one of that type is."""

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.campaign import campaign
from harness.errors import RequestError
from harness.model import HostRecord, Outcome, Reason, RunRecord
from harness.model.outcomes import is_as_expected, outcome_that_counts
from harness.report.exit_codes import exit_code_of
from harness.report.formats import Format, render
from tests.doubles.records import make_host, make_verdict

VERDICT = make_verdict(
    outcome=Outcome.UNSUPPORTED,
    reason=Reason.NO_PHC,
    sentence="the device has none",
    remedy="choose another type",
)


def host(outcome: Outcome, reason: Reason, expected: str | None) -> HostRecord:
    verdict = replace(VERDICT, outcome=outcome, reason=reason)
    return make_host(name="m5.large", instance_type="m5.large", verdict=verdict, expected=expected)


def run(*hosts: HostRecord) -> RunRecord:
    return RunRecord(run="k3f9", bench="ec2", started="", seconds=1.0, interrupted=False, hosts=hosts, leftovers=())


@pytest.mark.parametrize(
    ("outcome", "reason", "expected", "as_expected", "counts", "code"),
    [
        (Outcome.UNSUPPORTED, Reason.NO_PHC, None, None, Outcome.UNSUPPORTED, 3),
        (Outcome.UNSUPPORTED, Reason.NO_PHC, "no_phc", True, Outcome.PASS, 0),
        (Outcome.UNSUPPORTED, Reason.NO_PHC, "UNSUPPORTED", True, Outcome.PASS, 0),
        (Outcome.UNSUPPORTED, Reason.NOT_OFFERED, "no_phc", False, Outcome.FAIL, 1),
        (Outcome.PASS, Reason.SYNCHRONISED, "no_phc", False, Outcome.FAIL, 1),
        (Outcome.FAIL, Reason.DRIVER_OFF, "driver_off", True, Outcome.PASS, 0),
        (Outcome.FAIL, Reason.OUT_OF_LIMITS, "driver_off", False, Outcome.FAIL, 1),
        (Outcome.INCONCLUSIVE, Reason.CAPACITY, "no_phc", False, Outcome.INCONCLUSIVE, 3),
        (Outcome.INCONCLUSIVE, Reason.CAPACITY, "capacity", True, Outcome.PASS, 0),
        (Outcome.PASS, Reason.SYNCHRONISED, "PASS", True, Outcome.PASS, 0),
    ],
)
def test_an_expected_verdict_passes_and_an_unexpected_one_fails(
    outcome: Outcome, reason: Reason, expected: str | None, as_expected: bool | None, counts: Outcome, code: int
) -> None:
    judged = host(outcome, reason, expected)
    assert (is_as_expected(judged), outcome_that_counts(judged)) == (as_expected, counts)
    record = run(judged)
    assert int(exit_code_of(record)) == code
    document: Any = json.loads(render(record, Format.JSON))
    assert (document["exit_code"], document["outcome"]) == (code, outcome)
    assert (document["hosts"][0]["expected"], document["hosts"][0]["as_expected"]) == (expected, as_expected)
    suite = ElementTree.fromstring(render(record, Format.JUNIT))
    assert (int(suite.get("failures") or 0), int(suite.get("errors") or 0)) == (code == 1, counts == "INCONCLUSIVE")


def test_reports_tell_the_verdict_and_that_it_is_no_news() -> None:
    text = render(run(host(Outcome.UNSUPPORTED, Reason.NO_PHC, "no_phc")), Format.TEXT)
    assert "UNSUPPORTED  no_phc" in text
    assert "as expected" in text
    assert "choose another type" not in text
    news = render(run(host(Outcome.PASS, Reason.SYNCHRONISED, "no_phc")), Format.TEXT)
    assert "NOT AS EXPECTED: the campaign expects no_phc" in news
    failure = ElementTree.fromstring(render(run(host(Outcome.PASS, Reason.SYNCHRONISED, "no_phc")), Format.JUNIT))
    (element,) = failure.iter("failure")
    assert (element.get("message") or "").startswith("expected no_phc, PASS synchronised: ")


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("{lab.none: no_phc}", "expect.lab.none: is no type of this campaign"),
        ("{lab.phcc: PASS}", "did you mean 'lab.phc'?"),
        ("{lab.phc: no_pch}", "write an outcome such as UNSUPPORTED, or a reason such as no_phc"),
        ("[lab.phc]", "expect"),
    ],
)
def test_a_mistake_is_named_with_its_place(expect: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        campaign.from_yaml(f"instance_types: [lab.phc]\nexpect: {expect}\n", where="c.yaml")
    assert "c.yaml:2:" in refused.value.message
    assert message in refused.value.message


def test_a_campaign_keeps_what_it_expects() -> None:
    requested = campaign.from_yaml("instance_types: [lab.phc]\nexpect: {lab.phc: PASS}\n", where="c.yaml")
    assert requested.expect == {"lab.phc": "PASS"}
