"""What may be ended is proven to be ours: a table of every case, and properties that no tag or gap gets past."""

import datetime
import string
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.model import Resource, Token, ownership
from harness.model.ownership import (
    EXPIRES,
    KEYLESS_SIGNER,
    SIGNATURE,
    TOKEN,
    DescribedResource,
    Removal,
    RunState,
    Signer,
)

SIGNER, OTHER = Signer(b"a" * 32), Signer(b"b" * 32)
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
ENDED, GOES_ON = "2026-11-28T11:00:00+00:00", "2026-11-28T13:00:00+00:00"
OURS = "k3f9/m7i.large/1"
TITLE = "ptp-harness-k3f9-m7i.large-1-0a1b2c3d"
NAME = SIGNER.sign_name(TITLE, token=OURS, expires=ENDED)
TAGS = {TOKEN: OURS, EXPIRES: ENDED, "ptp-harness:run": "k3f9", "ptp-harness:owner": "ada", "Name": "x"}
HOST = DescribedResource(kind="instance", ident="i-1", tags=TAGS, given_name=NAME)
DATABASE = replace(HOST, ident="i-9", given_name="somebody-s-key")
"""Of somebody else, with a copy of every tag of ours."""


def why_not(tagged: DescribedResource, signer: Signer = SIGNER, **recorded: set[str]) -> str | None:
    return ownership.why_not_ours(tagged, signer, {OURS: recorded["ids"]} if recorded else {})


def tagged_as(**changes: str | None) -> DescribedResource:
    tags = TAGS | {f"ptp-harness:{key}": value for key, value in changes.items()}
    return replace(HOST, tags={key: value for key, value in tags.items() if value is not None})


TAGS_ALONE = "nothing but tags says that it is ours"


@pytest.mark.parametrize(
    ("tagged", "expected"),
    [
        (HOST, None),
        (DATABASE, TAGS_ALONE),
        (replace(HOST, given_name=None), TAGS_ALONE),
        (replace(HOST, given_name=""), TAGS_ALONE),
        (replace(HOST, given_name=TITLE), TAGS_ALONE),
        (replace(HOST, given_name=NAME + "x"), TAGS_ALONE),
        (replace(HOST, given_name=OTHER.sign_name(TITLE, token=OURS, expires=ENDED)), TAGS_ALONE),
        (tagged_as(token="k3f9/m7i.large/2"), TAGS_ALONE),
        (tagged_as(token="z7y8/m7i.large/1"), TAGS_ALONE),
        (tagged_as(expires=GOES_ON), TAGS_ALONE),
        (tagged_as(expires="2026-11-28T11:00:00Z"), TAGS_ALONE),
        (tagged_as(expires=None), "it has no lease"),
        (tagged_as(expires=""), "the end of its lease cannot be read"),
        (tagged_as(expires="tomorrow"), "the end of its lease cannot be read"),
        (tagged_as(token=None), "its tag is no token of a host"),
        (tagged_as(token=""), "its tag is no token of a host"),
        (tagged_as(token="*/*/1"), "its tag is no token of a host"),
        (tagged_as(token="k3f9/m7i.large/1/"), "its tag is no token of a host"),
        (tagged_as(token="k3f9/m7i.large"), "its tag is no token of a host"),
        (tagged_as(owner="eve"), None),  # what is not signed proves nothing, and takes nothing away
    ],
)
def test_what_proves_that_it_is_ours(tagged: DescribedResource, expected: str | None) -> None:
    assert why_not(tagged) == expected


def test_our_records_prove_an_id_for_its_own_token_alone() -> None:
    assert why_not(DATABASE, ids={"i-1"}) == TAGS_ALONE
    assert why_not(DATABASE, ids={"i-9"}) is None
    other = {"k3f9/m7g.large/1": {"i-9"}}
    assert ownership.why_not_ours(DATABASE, SIGNER, other) == TAGS_ALONE, "recorded for another host of ours"
    unleased = replace(DATABASE, tags={TOKEN: OURS})
    assert why_not(unleased, ids={"i-9"}) == "it has no lease"


def test_a_signature_of_an_id_holds_for_that_id_and_those_tags_alone() -> None:
    tags = {"ptp-harness:image": "al2023", "ptp-harness:proof": "z7y8", "Name": "x"}
    signed = tags | {SIGNATURE: SIGNER.sign_tags("image", "ami-1", tags)}
    ours = DescribedResource(kind="image", ident="ami-1", tags=signed, given_name="whatever")
    assert why_not(ours) is None
    assert why_not(replace(ours, tags=signed | {"Name": "another", "team": "x"})) is None, "they are not ours"
    for forged in (
        replace(ours, ident="ami-2"),
        replace(ours, kind="snapshot"),
        replace(ours, tags=signed | {"ptp-harness:proof": "evil"}),
        replace(ours, tags=signed | {"ptp-harness:user": "root"}),
        replace(ours, tags=signed | {TOKEN: OURS, EXPIRES: ENDED}),
        replace(ours, tags={key: value for key, value in signed.items() if key != "ptp-harness:proof"}),
        replace(ours, tags=tags),
        replace(ours, tags=tags | {SIGNATURE: ""}),
        replace(ours, tags=tags | {SIGNATURE: OTHER.sign_tags("image", "ami-1", tags)}),
    ):
        assert why_not(forged) is not None


def test_without_a_key_nothing_is_proven() -> None:
    assert why_not(HOST, KEYLESS_SIGNER) == why_not(HOST, Signer(b"")) == TAGS_ALONE
    assert "aaaa" not in repr(SIGNER)


def resource(expires: str | None = None, unproven: str | None = None, token: str = OURS) -> Resource:
    return Resource(token=token, kind="instance", name="i-1", detail="", expires=expires, unproven=unproven)


LATER = "its run is in no ledger here, and its lease has ended"


@pytest.mark.parametrize(
    ("thing", "state", "removal", "why"),
    [
        *((resource(ENDED), state, Removal.END, state.value) for state in (RunState.ENDED, RunState.DIED)),
        (resource(GOES_ON), RunState.ENDED, Removal.END, "its run has ended"),
        (resource(GOES_ON), RunState.RELEASED, Removal.END, "its owner ends it"),
        (resource(), RunState.KEEPER_DIED, Removal.END, "the process that kept it warm died"),
        (resource(ENDED), RunState.ALIVE, Removal.IN_USE, "its run is under way"),
        (resource(ENDED), RunState.KEPT, Removal.IN_USE, "it was kept on purpose"),
        (resource(), RunState.BY_HAND, Removal.IN_USE, "a person made it, and removes it"),
        (resource(), RunState.KEEPER_ALIVE, Removal.IN_USE, "a process keeps it"),
        (resource(), RunState.UNKNOWN, Removal.END, "its run is in no ledger here"),  # a folder of the lab's
        (resource(ENDED), RunState.UNKNOWN, Removal.END, LATER),
        (resource("2026-11-28T11:59:59"), RunState.UNKNOWN, Removal.END, LATER),
        (resource(NOW.isoformat()), RunState.UNKNOWN, Removal.END, LATER),
        (resource("2026-11-28T12:00:01"), RunState.UNKNOWN, Removal.IN_USE, "its lease goes on"),
        (resource("soon"), RunState.UNKNOWN, Removal.LEAVE, "the end of its lease cannot be read"),
        (resource(GOES_ON, "w"), RunState.UNKNOWN, Removal.IN_USE, "w"),  # most likely a colleague's
        (resource(GOES_ON, "w", "*/*/1"), RunState.UNKNOWN, Removal.LEAVE, "w"),
        (resource(ENDED, "w"), RunState.UNKNOWN, Removal.LEAVE, "w"),
        (resource(None, "w"), RunState.UNKNOWN, Removal.LEAVE, "w"),
        *((resource(GOES_ON, "w"), state, Removal.LEAVE, "w") for state in RunState if state is not RunState.UNKNOWN),
    ],
)
def test_what_becomes_of_it(thing: Resource, state: RunState, removal: Removal, why: str) -> None:
    decision = ownership.decide_removal(thing, state, now=NOW)
    assert (decision.removal, decision.why) == (removal, why)


# --- properties -----------------------------------------------------------------------------------------------------

SPECIAL = st.sampled_from(
    ["*", "?", "\\", "*/*/1", "k3f9/*/1", "", "-", "/", "\0", "\ud800", OURS, ENDED, GOES_ON, NAME]
)
TEXT = SPECIAL | st.text(max_size=40) | st.text(st.sampled_from("*?\\/k3f9-.1"), max_size=20)
KEYS = st.sampled_from([TOKEN, EXPIRES, SIGNATURE, "ptp-harness:run", "ptp-harness:owner", "Name"])
TAG_SETS = st.dictionaries(KEYS, TEXT) | st.builds(lambda more: TAGS | more, st.dictionaries(KEYS, TEXT))
STATES = st.sampled_from(RunState)
RUNS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
TOKENS = st.builds(lambda run, host: str(Token(run=run, host=host)), RUNS, RUNS)


def ends(tagged: DescribedResource, state: RunState, recorded: dict[str, set[str]] | None = None) -> bool:
    """As the bench and the sweep put both halves together."""
    thing = Resource(
        token=tagged.tags.get(TOKEN, ""),
        kind=tagged.kind,
        name=tagged.ident,
        detail="",
        expires=tagged.tags.get(EXPIRES),
        unproven=ownership.why_not_ours(tagged, SIGNER, recorded or {}),
    )
    return ownership.decide_removal(thing, state, now=NOW).removal is Removal.END


@given(tags=TAG_SETS, name=st.none() | TEXT, ident=TEXT, state=STATES)
@example(tags=TAGS, name="their-key", ident="i-9", state=RunState.UNKNOWN)
@example(tags=TAGS | {TOKEN: "*/*/1"}, name=NAME, ident="i-9", state=RunState.UNKNOWN)
def test_no_tags_whatever_end_what_we_did_not_name(
    tags: dict[str, str], name: str | None, ident: str, state: RunState
) -> None:
    assume(name != NAME or tags.get(TOKEN) != OURS or tags.get(EXPIRES) != ENDED)
    assert not ends(DescribedResource(kind="instance", ident=ident, tags=tags, given_name=name), state)


@given(token=TOKENS, other=TOKENS, expires=st.datetimes(), moved=st.datetimes(), state=STATES)
def test_a_name_proves_its_own_token_and_lease_alone(
    token: str, other: str, expires: datetime.datetime, moved: datetime.datetime, state: RunState
) -> None:
    name = SIGNER.sign_name(TITLE, token=token, expires=expires.isoformat())
    ours = DescribedResource(
        kind="instance", ident="i-1", tags={TOKEN: token, EXPIRES: expires.isoformat()}, given_name=name
    )
    assert ownership.why_not_ours(ours, SIGNER) is None
    assert ownership.why_not_ours(ours, OTHER) == TAGS_ALONE
    if other != token:
        assert not ends(replace(ours, tags={**ours.tags, TOKEN: other}), state)
    if moved != expires:
        assert not ends(replace(ours, tags={**ours.tags, EXPIRES: moved.isoformat()}), state)


@given(tags=TAG_SETS, missing=KEYS, state=STATES)
def test_what_is_missing_never_ends_more(tags: dict[str, str], missing: str, state: RunState) -> None:
    less = {key: value for key, value in tags.items() if key != missing}
    before = ends(DescribedResource(kind="instance", ident="i-1", tags=tags, given_name=NAME), state)
    after = ends(DescribedResource(kind="instance", ident="i-1", tags=less, given_name=NAME), state)
    assert before or not after
    assert not ends(DescribedResource(kind="instance", ident="i-1", tags=tags, given_name=None), state)


@given(expires=st.none() | TEXT | st.datetimes(timezones=st.timezones() | st.none()).map(datetime.datetime.isoformat))
@example(expires="0001-01-01T00:00:00+23:59")
@example(expires="9999-12-31T23:59:59-23:59")
def test_a_lease_of_any_text_is_decided(expires: str | None) -> None:
    for state in RunState:
        for unproven in (None, "w"):
            decision = ownership.decide_removal(resource(expires, unproven), state, now=NOW)
            assert decision.removal is not Removal.END or unproven is None


@given(words=st.lists(TEXT, min_size=1, max_size=4), other=st.lists(TEXT, min_size=1, max_size=4))
def test_two_sets_of_tags_have_two_signatures(words: list[str], other: list[str]) -> None:
    first, second = ({f"ptp-harness:{word}": word for word in each} for each in (words, other))
    same = SIGNER.sign_tags("image", "ami-1", first) == SIGNER.sign_tags("image", "ami-1", second)
    one, two = ({key: value for key, value in tags.items() if key != SIGNATURE} for tags in (first, second))
    assert same is (one == two)
