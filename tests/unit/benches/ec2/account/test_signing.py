"""The key that proves what is ours: made once, private, shared by a setting, and never too short."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.ec2.account import signing
from harness.errors import SetupError
from harness.model.ownership import Signer
from harness.system import settings
from harness.system.settings import Settings


@pytest.fixture
def ours(tmp_path: Path) -> Settings:
    return settings.load({"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")})


def sign(signer: Signer) -> str:
    return signer.sign_name("x", token="k3f9/a/1", expires="")


def test_a_state_directory_has_one_key_that_nobody_else_may_read(ours: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = {sign(signer) for signer in pool.map(signing.load, [ours] * 8)}
    assert len(names) == 1
    folder = ours.state_dir / "ec2"
    assert [path.name for path in folder.iterdir()] == ["signing-key"]
    assert ((folder / "signing-key").stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_two_state_directories_have_two_keys_unless_they_share_one(ours: Settings, tmp_path: Path) -> None:
    other = replace(ours, state_dir=tmp_path / "other")
    assert sign(signing.load(ours)) != sign(signing.load(other))
    shared = settings.load({"PTP_HARNESS_SIGNING_KEY": str(ours.state_dir / "ec2/signing-key")})
    assert sign(signing.load(replace(shared, state_dir=tmp_path / "third"))) == sign(signing.load(ours))
    assert not (tmp_path / "third").exists()


def test_a_key_that_is_none_is_refused(ours: Settings, tmp_path: Path) -> None:
    for content in ("", "short\n", "x" * 31):
        (tmp_path / "key").write_text(content)
        with pytest.raises(SetupError, match=r"the signing key .*key is too short: \d+ bytes of 32"):
            signing.load(replace(ours, signing_key=tmp_path / "key"))
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        signing.load(replace(ours, signing_key=tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written to"):
        signing.load(replace(ours, state_dir=tmp_path / "file"))
