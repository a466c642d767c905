"""Names that become paths, arguments and remote words: nothing in them can be more than a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model import Token
from harness.untrusted import names

HOSTILE = (
    "", "-oProxyCommand=id", "../x", "a/b", "a b", "a\nb", "a;b", "$(id)", "`id`", "{{ x }}", "a'b", 'a"b', "a\\b",
    "a*b", "\x1b[2J", "é", "a\u202eb", "..", ".",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["RUN", "HOST", "ADDRESS", "USER", "REGION", "INSTANCE_TYPE", "ATTEMPT"])
def test_no_kind_of_name_takes_what_is_more_than_a_name(kind: str, text: str) -> None:
    assert not names.fits(getattr(names, kind), text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("RUN", "k3f9"),
        ("RUN", "pool4711x81234567x0a1b"),
        ("HOST", "m7i.large-2"),
        ("HOST", "rack7_a.example.org"),
        ("HOST", "2001:db8::1"),
        ("ADDRESS", "fe80::1%eth0"),
        ("ADDRESS", "::1"),
        ("ADDRESS", "127.0.3.4"),
        ("USER", "ec2-user"),
        ("REGION", "us-gov-west-1"),
        ("REGION", "ap-southeast-5"),
        ("INSTANCE_TYPE", "u-6tb1.112xlarge"),
        ("INSTANCE_TYPE", "m7i-flex.large"),
    ],
)
def test_what_is_really_called_so_fits(kind: str, text: str) -> None:
    assert names.fits(getattr(names, kind), text)


@pytest.mark.parametrize(
    "text", ["*/*/1", "k3f9/lab.phc/", "k3f9/lab.phc/0", "k3f9/lab.phc/1/2", "k3f9/lab.phc/1\n", "K/x/1", "k?f9/x/1"]
)
def test_what_no_token_of_ours_can_be_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        Token.parse(text)


@given(
    st.builds(
        Token,
        run=st.from_regex(names.RUN, fullmatch=True),
        host=st.from_regex(names.HOST, fullmatch=True),
        attempt=st.integers(1, 9999),
    )
)
def test_every_token_is_read_again_as_it_was_written(token: Token) -> None:
    assert Token.parse(str(token)) == token
    assert "/" not in token.slug
