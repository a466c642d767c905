"""`token create`, `list` and `revoke`: the secret is shown once, and what is wrong is said in one sentence."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.model.tasks import Scope
from harness.store.access_tokens import PREFIX, AccessTokens
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_token_is_shown_once_and_kept_as_a_digest(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    done = call("token", "create", "ada")
    secret = done.stdout.strip()
    assert done.returncode == 0
    assert secret.startswith(PREFIX)
    assert len(secret) == len(PREFIX) + 43  # 256 bits in base64
    assert "the token ada has the scope submit until it is revoked; it is not shown again" in done.stderr
    found = AccessTokens(ledger.database).find(secret)
    assert found is not None
    assert (found.name, found.scope, found.state) == ("ada", Scope.SUBMIT, "valid")
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").glob("ledger.sqlite*"))
    assert secret.encode() not in kept
    assert secret not in call("token", "list").stdout + call("token", "list", "--json").stdout


def test_tokens_are_listed_with_their_states(call: Call) -> None:
    call("token", "create", "ada", "--scope", "admin")
    made = json.loads(call("token", "create", "ci", "--expires", "90d", "--json").stdout)
    assert made["secret"].startswith(PREFIX)
    assert call("token", "revoke", "ada").stderr == "the token ada is revoked\n"
    listed = {line["name"]: line for line in json.loads(call("token", "list", "--json").stdout)}
    assert (listed["ada"]["state"], listed["ada"]["scope"], listed["ada"]["expires"]) == ("revoked", "admin", None)
    assert (listed["ci"]["state"], listed["ci"]["last_used"]) == ("valid", None)
    head, first, second = call("token", "list").stdout.splitlines()
    assert head.split()[:3] == ["NAME", "SCOPE", "STATE"]
    assert (first.split()[:3], second.split()[:3]) == (["ada", "admin", "revoked"], ["ci", "submit", "valid"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("create", "Ada Lovelace"), "'Ada Lovelace' is no name of a token"),
        (("create", "-x"), "No such option"),
        (("create", "a" * 64), "is no name of a token"),
        (("create", "ada", "--expires", "30s"), "--expires is '30s': a token is valid from 1 minute to 10 years"),
        (("create", "ada", "--expires", "soon"), "--expires is 'soon'"),
        (("create", "ada", "--scope", "root"), "'root' is not one of"),
        (("revoke", "nobody"), "there is no token 'nobody'"),
    ],
)
def test_what_is_wrong_is_one_sentence(call: Call, words: tuple[str, ...], sentence: str) -> None:
    done = call("token", *words)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())


def test_a_name_is_given_once(call: Call) -> None:
    call("token", "create", "ada")
    done = call("token", "create", "ada")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is a token 'ada' already" in done.stderr


def test_no_token_yet_is_said(call: Call) -> None:
    assert call("token", "list").stderr == "no tokens yet; `ptp-harness token create NAME` makes one\n"
