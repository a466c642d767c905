"""Keys of a run: made once, for us alone, known again, and gone afterwards."""

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.benches.ec2.instances.run_keys import RunKeys
from harness.errors import SetupError
from harness.model import Token

TOKEN = Token(run="k3f9", host="m7i.large", attempt=2)


def public_of(private: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-y", "-f", str(private)], check=True, capture_output=True, text=True)
    return " ".join(done.stdout.split()[:2])


def test_one_user_key_per_run_however_many_ask(tmp_path: Path) -> None:
    identity = RunKeys(tmp_path / "k3f9")
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = set(pool.map(lambda _: RunKeys(tmp_path / "k3f9").public_key, range(8)))
    assert found == {public_of(identity.user_key)}
    assert RunKeys(tmp_path / "other").public_key not in found


def test_a_host_is_known_by_the_key_it_begins_with(tmp_path: Path) -> None:
    identity = RunKeys(tmp_path / "k3f9")
    private = identity.first_host_key(TOKEN)
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert identity.first_host_key(TOKEN) == private
    assert identity.first_host_key(Token(run="k3f9", host="m7i.large", attempt=3)) != private
    key = public_of(tmp_path / "k3f9" / "m7i.large-2" / "first_key")
    assert identity.known_host(TOKEN, "192.0.2.7") == f"192.0.2.7 {key}"
    assert identity.known_host(TOKEN, "127.0.0.1", 2222) == f"[127.0.0.1]:2222 {key}"


def test_and_then_by_its_own(tmp_path: Path) -> None:
    identity = RunKeys(tmp_path / "k3f9")
    identity.first_host_key(TOKEN)
    identity.rotated_key(TOKEN).write_text("192.0.2.7 ssh-ed25519 AAAA\n")
    assert identity.known_host(TOKEN, "192.0.2.7") == "192.0.2.7 ssh-ed25519 AAAA"


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    identity = RunKeys(tmp_path / "keys" / "k3f9")
    identity.first_host_key(TOKEN)
    assert identity.user_key.exists()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys" / "k3f9").rglob("*")}
    assert set(modes.values()) == {0o600, 0o700}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_a_key_that_was_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "k3f9").mkdir()
    (tmp_path / "k3f9" / ".user_key.new").write_text("half")
    (tmp_path / "k3f9" / ".user_key.new.pub").write_text("half")
    identity = RunKeys(tmp_path / "k3f9")
    assert identity.public_key == public_of(identity.user_key)


def test_they_are_gone_afterwards(tmp_path: Path) -> None:
    identity = RunKeys(tmp_path / "k3f9")
    identity.first_host_key(TOKEN)
    assert identity.public_key
    identity.forget_host(TOKEN)
    assert not (tmp_path / "k3f9" / "m7i.large-2").exists()
    assert identity.user_key.exists()
    identity.forget()
    identity.forget()
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="keys cannot be written to"):
        RunKeys(tmp_path / "file" / "k3f9").first_host_key(TOKEN)
