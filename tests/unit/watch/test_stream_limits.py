"""What a stream is held against: the table, a campaign's or a profile's limits, and what of them it cannot use."""

import json

import pytest

from harness.errors import RequestError
from harness.model.enums import Reason
from harness.model.watched import StreamState
from harness.system import profile_files
from harness.watch.judge import StreamJudge
from harness.watch.stream_limits import prepare_limits, read_limits
from tests.doubles.watched_clock import EC2_NOISE, judge_ticks, watch_clock


def test_streams_default_to_the_table_of_ec2_and_say_what_they_cannot_use() -> None:
    limits = read_limits({})
    assert {limit.quantity for limit in limits.requirements} >= {"phc_offset_ns", "convergence_s"}
    assert any("convergence is not judged" in note for note in limits.notes)


def test_limits_of_a_profile_stand_in_the_stream_and_survive_json() -> None:
    prepared = json.loads(json.dumps(prepare_limits({"profile": "mifid-ii-hft"}, profile_files.read_profile)))
    (limit,) = read_limits(prepared).profile_limits
    assert (limit.requirement.quantity, limit.requirement.value) == ("mifid-ii-hft bound", 100_000)
    assert limit.against_utc


def test_limits_of_a_campaign_file_are_stored_in_numbers() -> None:
    written = {"bench": "lab", "limits": {"phc_offset_ns": {"median_abs": "5us"}, "phc_read_success": {"min": 0.9}}}
    prepared = prepare_limits(written, profile_files.read_profile)
    assert prepared["limits"] == {"phc_offset_ns": {"median_abs": 5000.0}, "phc_read_success": {"min": 0.9}}
    with pytest.raises(RequestError, match="phc_offset_ns median_abs is no number"):
        prepare_limits({"limits": {"phc_offset_ns": {"median_abs": "soon"}}}, profile_files.read_profile)


def test_masks_of_a_profile_are_left_to_the_day_which_is_told() -> None:
    prepared = prepare_limits({"profile": "g8272-prtc-a"}, profile_files.read_profile)
    notes = read_limits(prepared).notes
    assert any("g8272-prtc-a mtie is judged by the day" in note for note in notes)


def test_profile_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match="mifid-ii-hft"):
        prepare_limits({"profile": "mifid-ii-htf"}, profile_files.read_profile)
    with pytest.raises(RequestError, match="no name"):
        prepare_limits({"profile": 3}, profile_files.read_profile)


def test_bound_above_the_profiles_limit_is_no_pass_and_an_offset_beyond_it_breaks() -> None:
    profile = [
        {
            "profile": "mine",
            "kind": "bound",
            "reference": "utc",
            "limit_ns": 20_000,
            "least_samples": 60,
            "filtered": False,
            "source": "mine",
        }
    ]
    judge = StreamJudge({"profile_limits": profile}, 1.0)
    changes = judge_ticks(judge, [(each.tick, each) for each in watch_clock(EC2_NOISE, 200)])
    assert (changes[-1].state, changes[-1].reason) == (StreamState.DEGRADED, Reason.NOT_OBSERVED)
    assert "mine bound" in changes[-1].sentence
    profile[0]["limit_ns"] = 50_000
    good = StreamJudge({"profile_limits": profile}, 1.0)
    judge_ticks(good, [(each.tick, each) for each in watch_clock(EC2_NOISE, 200)])
    assert good.state is StreamState.OK
