"""Profiles: those that come along are whole and traceable, and a file of one's own is read with clear errors."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign import campaign, run_plan, stored
from harness.campaign.masks import Mask
from harness.campaign.profile_format import parse_profile, write_profile
from harness.campaign.profiles import LimitKind, Profile, ProfileLimit, Reference
from harness.errors import RequestError
from harness.system import profile_files

STANDARDS = {profile.name: profile for profile in profile_files.load_standards()}

MASKS = [
    (name, limit)
    for name, profile in STANDARDS.items()
    for limit in profile.limits
    if limit.kind in (LimitKind.MTIE, LimitKind.TDEV)
]

POINTS = {
    ("g8272-prtc-a", "mtie"): {1: 25.275, 273: 100.075, 273.001: 100, 1e6: 100},
    ("g8272-prtc-a", "tdev"): {1: 3, 100: 3, 100.001: 3.00003, 1000: 30, 1e6: 30},
    ("g8272-prtc-b", "mtie"): {54.5: 39.9875, 54.51: 40, 1e6: 40},
    ("g8272-prtc-b", "tdev"): {100: 1, 500: 5, 1e6: 5},
    ("g8272.1-eprtc", "mtie"): {1: 4, 100: 15.004, 400_000: 30, 1e6: 30},
    ("g8272.1-eprtc", "tdev"): {30_000: 1, 300_000: 10, 1e6: 10},
    ("g811", "mtie"): {1000: 300, 100_000: 1290},
    ("g811", "tdev"): {100: 3, 1000: 30, 1e6: 30},
    ("g8273.2-class-a", "mtie"): {1: 40, 1000: 40, 1001: None},
    ("g8273.2-class-b", "mtie"): {1000: 40},
    ("g8273.2-class-c", "mtie"): {1000: 10},
    ("g8273.2-class-a", "tdev"): {1000: 4},
    ("g8273.2-class-b", "tdev"): {1000: 4},
    ("g8273.2-class-c", "tdev"): {1000: 2},
}
"""Limits in ns at times in s, as the Recommendations give them."""

NUMBERS = {
    "ec2-phc": {"bound": 50_000},
    "clock-bound": {"bound": 100_000},
    "finra-cat": {"bound": 50_000_000},
    "cat-participant": {"bound": 100_000},
    "mifid-ii-hft": {"bound": 100_000},
    "mifid-ii-other": {"bound": 1_000_000},
    "g811": {},
    "g8272-prtc-a": {"offset": 100},
    "g8272-prtc-b": {"offset": 40},
    "g8272.1-eprtc": {"offset": 30},
    "g8273.2-class-a": {"offset": 100, "constant": 50},
    "g8273.2-class-b": {"offset": 70, "constant": 20},
    "g8273.2-class-c": {"offset": 30, "constant": 10},
    "g8273.2-class-d": {"offset": 5},
}


def test_every_profile_has_the_numbers_of_its_source() -> None:
    found = {
        name: {limit.kind.value: limit.limit_ns for limit in profile.limits if limit.limit_ns is not None}
        for name, profile in STANDARDS.items()
    }
    assert found == NUMBERS
    assert {(name, limit.kind.value) for name, limit in MASKS} == {*POINTS}
    assert all(profile.source and profile.edition and profile.title for profile in STANDARDS.values())


@pytest.mark.parametrize(("name", "limit"), MASKS, ids=[f"{name} {limit.kind}" for name, limit in MASKS])
def test_every_mask_has_the_values_of_its_source_at_its_edges(name: str, limit: ProfileLimit) -> None:
    mask = Mask(limit.segments)
    for tau_s, limit_ns in POINTS[name, limit.kind.value].items():
        found = mask.limit_ns(tau_s)
        assert found == limit_ns if limit_ns is None else found == pytest.approx(limit_ns, rel=1e-5), tau_s


@given(st.sampled_from(MASKS), st.floats(1, 1000))
def test_a_mask_has_a_limit_at_every_time_without_gaps(chosen: tuple[str, ProfileLimit], tau_s: float) -> None:
    limit_ns = Mask(chosen[1].segments).limit_ns(tau_s)
    assert limit_ns is not None
    assert limit_ns > 0


@pytest.mark.parametrize("name", STANDARDS)
def test_a_profile_that_is_written_is_read_as_it_was(name: str) -> None:
    text = yaml.safe_dump(write_profile(STANDARDS[name]), sort_keys=False)
    assert parse_profile(text, where="again.yaml") == STANDARDS[name]


HEAD = "{name: mine, title: Mine, edition: '1', source: me, reference: source, limits: "


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("[]", "limits: is empty; add a limit"),
        ("[{kind: bound}]", "bound has no limit; add one, such as `limit: 100us`"),
        ("[{kind: bund, limit: 1us}]", "did you mean 'bound'?"),
        ("[{kind: bound, limit: 1 parsec}]", "write a time above 0 such as 100ns"),
        ("[{kind: bound, limit: -3}]", "limits.0.limit"),
        ("[{kind: bound, limit: .nan}]", "limits.0.limit"),
        ("[{kind: mtie}]", "a mask needs a segment"),
        ("[{kind: mtie, limit: 1us}]", "is given for a mask of mtie"),
        ("[{kind: offset, limit: 1us, segments: [{above: 1s, constant: 1us}]}]", "which has one limit at all times"),
        (
            "[{kind: tdev, segments: [{above: 1s, to: 9s, constant: 1us}, {above: 10s, constant: 1us}]}]",
            "gap between the segments to 9 s and above 10 s",
        ),
        (
            "[{kind: tdev, segments: [{above: 1s, to: 11s, constant: 1us}, {above: 10s, constant: 1us}]}]",
            "overlap between the segments to 11 s and above 10 s",
        ),
        ("[{kind: tdev, segments: [{above: 1s, constant: 1us, slope_ns_per_s: -1.0}]}]", "does not fall"),
        ("[{kind: tdev, segments: [{above: 1s, to: 2s, constant: 0ns}]}]", "is not above 0"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(limits: str, message: str) -> None:
    with pytest.raises(RequestError, match=r"mistake in profile mine\.yaml") as refused:
        parse_profile(HEAD + limits + "}", where="mine.yaml")
    assert "mine.yaml:1:" in refused.value.message
    assert message in refused.value.message


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.yaml").write_text("#" * 2_000_000)
    for name, message in (
        ("list.yaml", "a profile is a list of `key: value` lines"),
        ("bytes.yaml", "is not text"),
        ("large.yaml", "bytes are no profile"),
        ("none.yaml", "cannot read the profile"),
        ("folder.yaml", "cannot read the profile"),
    ):
        (tmp_path / "folder.yaml").mkdir(exist_ok=True)
        with pytest.raises(RequestError, match=message):
            profile_files.read_profile(str(tmp_path / name))
    with pytest.raises(RequestError, match=r"there is no profile 'prtc-a'"):
        profile_files.read_profile("prtc-a")


# --- in a campaign ----------------------------------------------------------------------------------------------------

CAMPAIGN = "{{bench: lab, instance_types: [lab.phc], limits: {{profile: {profile}}}}}"


def profiles_of(written: str) -> tuple[Profile, ...]:
    return campaign.from_yaml(
        CAMPAIGN.format(profile=written), where="c.yaml", read_profile=profile_files.read_profile
    ).profiles


def test_a_campaign_names_profiles_by_name_and_by_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(HEAD + "[{kind: bound, limit: 1us}]}")
    first, second = profiles_of(f"[mifid-ii-hft, {mine}, mifid-ii-hft]")
    assert (first, second.name, second.reference) == (STANDARDS["mifid-ii-hft"], "mine", Reference.SOURCE)
    assert profiles_of("ec2-phc") == (STANDARDS["ec2-phc"],)


@pytest.mark.parametrize("name", STANDARDS)
def test_a_campaign_with_a_profile_is_stored_and_read_as_it_was(name: str) -> None:
    requested = campaign.from_yaml(
        CAMPAIGN.format(profile=name), where="c.yaml", read_profile=profile_files.read_profile
    )
    assert stored.from_document(stored.to_document(requested)) == requested


def test_an_unknown_profile_is_a_mistake_with_its_line() -> None:
    with pytest.raises(RequestError, match=r"c\.yaml:1: limits\.profile: there is no profile 'mifid'"):
        profiles_of("mifid")


def test_a_plan_warns_where_the_measuring_is_too_short_for_a_profile() -> None:
    requested = campaign.from_yaml(
        CAMPAIGN.format(profile="g8272-prtc-a"), where="c.yaml", read_profile=profile_files.read_profile
    )
    (warning,) = run_plan.make_plan(requested, {"lab.phc": ""}, now=datetime(2026, 11, 29, tzinfo=UTC)).warnings
    assert "profile g8272-prtc-a can be met from 16 min 40 s of measuring on" in warning
