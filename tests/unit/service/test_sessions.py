"""Sessions of the pages and tokens of their forms: signed, bounded, and never a secret in clear."""

import time
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.service.sessions import LASTS_S, Sessions, load_sessions
from harness.system.settings import Settings

KEY, OTHER = b"k" * 64, b"o" * 64


def settings(folder: Path, **more: Path) -> Settings:
    return Settings(state_dir=folder, cache_dir=folder, assets_dir=folder, **more)  # type: ignore[arg-type]


def test_a_session_names_its_token_and_is_good_in_every_process_with_the_key() -> None:
    value = Sessions(KEY).begin("ab12cd34", now_s=1000.0)
    read = Sessions(KEY).read(value, now_s=1000.0)
    assert read is not None
    assert (read.token, read.ends_s) == ("ab12cd34", 1000 + LASTS_S)
    assert value != Sessions(KEY).begin("ab12cd34", now_s=1000.0)


def test_a_session_ends() -> None:
    value = Sessions(KEY).begin("ab12cd34", now_s=1000.0)
    assert Sessions(KEY).read(value, now_s=1000.0 + LASTS_S - 1) is not None
    assert Sessions(KEY).read(value, now_s=1000.0 + LASTS_S) is None


def test_what_we_did_not_sign_is_no_session() -> None:
    value = Sessions(KEY).begin("ab12cd34")
    parts = value.split(".")
    for place in range(len(parts)):
        changed = [*parts]
        changed[place] = changed[place][:-1] + ("0" if changed[place][-1] != "0" else "1")
        assert Sessions(KEY).read(".".join(changed)) is None
    for wrong in ("", ".", "....", "a.b.c.d.e", value + "0", value[:-1], "\udcff.1.1.1.1", "1.ab.x.y." + "0" * 64):
        assert Sessions(KEY).read(wrong) is None
    assert Sessions(OTHER).read(value) is None


def test_a_session_that_was_logged_out_is_refused() -> None:
    sessions = Sessions(KEY)
    value, other = sessions.begin("ab12cd34"), sessions.begin("ab12cd34")
    read = sessions.read(value)
    assert read is not None
    sessions.end(read)
    assert sessions.read(value) is None
    assert sessions.read(other) is not None


def test_a_form_is_of_the_page_of_one_viewer() -> None:
    sessions = Sessions(KEY)
    token = sessions.make_form_token("viewer")
    assert sessions.is_form_token("viewer", token)
    assert Sessions(KEY).is_form_token("viewer", token)
    assert not sessions.is_form_token("another", token)
    assert not Sessions(OTHER).is_form_token("viewer", token)
    assert token != sessions.make_form_token("viewer"), "it differs in each answer"
    for wrong in ("", "x", token[:-4], token + "AAAA", "\N{SNOWMAN}", "=" * 44, "A" * 44):
        assert not sessions.is_form_token("viewer", wrong)


def test_a_session_is_no_form_token_and_the_other_way_round() -> None:
    sessions = Sessions(KEY)
    assert sessions.read(sessions.make_form_token("viewer")) is None
    assert not sessions.is_form_token("viewer", sessions.begin("viewer"))


def test_services_on_one_host_have_cookies_of_their_own_and_those_of_https_are_of_the_host_alone() -> None:
    assert Sessions(KEY).cookie_name(secure=False) != Sessions(OTHER).cookie_name(secure=False)
    assert Sessions(KEY).cookie_name(secure=True).startswith("__Host-ptp-session-")
    assert Sessions(KEY).cookie_name(secure=False, kind="visitor").startswith("ptp-visitor-")


def test_the_key_is_made_once_and_its_owner_alone_reads_it(tmp_path: Path) -> None:
    value = load_sessions(settings(tmp_path)).begin("ab12cd34")
    file = tmp_path / "service" / "session-key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_sessions(settings(tmp_path)).read(value) is not None


def test_machines_that_share_a_signing_key_share_sessions(tmp_path: Path) -> None:
    shared = tmp_path / "key"
    shared.write_text("0123456789abcdef" * 4)
    one, other = settings(tmp_path / "a", signing_key=shared), settings(tmp_path / "b", signing_key=shared)
    assert load_sessions(other).read(load_sessions(one).begin("ab12cd34")) is not None
    assert not (tmp_path / "a").exists()


def test_a_key_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("0123")
    with pytest.raises(SetupError, match=r"session key .* is too short: 4 bytes of 32"):
        load_sessions(settings(tmp_path, signing_key=short))
    with pytest.raises(SetupError, match="cannot be read"):
        load_sessions(settings(tmp_path, signing_key=tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        load_sessions(settings(tmp_path / "file"))


def test_many_logouts_stay_bounded() -> None:
    sessions = Sessions(KEY)
    begun = time.monotonic()
    for number in range(12_000):
        read = sessions.read(sessions.begin(f"t{number}"))
        assert read is not None
        sessions.end(read)
    assert time.monotonic() - begun < 30
