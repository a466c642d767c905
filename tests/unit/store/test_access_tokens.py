"""Access tokens: a secret is shown once and kept nowhere; a token ends by its date, or once it is revoked."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sql

from harness.errors import RequestError
from harness.model.tasks import Scope
from harness.store.access_tokens import AccessTokens, digest_secret
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.tables import TOKENS
from tests.unit.store.test_task_queue import lose_answers


@pytest.fixture
def tokens(ledger: Ledger) -> AccessTokens:
    return AccessTokens(ledger.database)


def test_a_token_is_found_by_its_secret_alone(tokens: AccessTokens) -> None:
    line, secret = tokens.create("ada", Scope.SUBMIT)
    assert re.fullmatch(r"ptph_[A-Za-z0-9_-]{43}", secret), "256 random bits"
    assert (line.name, line.scope, line.state, line.expires_ns, line.last_used_ns) == (
        "ada", Scope.SUBMIT, "valid", None, None,
    )  # fmt: skip
    found = tokens.find(secret)
    assert found is not None
    assert replace(found, read_ns=line.read_ns) == line
    for other in (secret[:-1], secret + "a", secret.upper(), "ada", line.token, digest_secret(secret), "", "\udc80"):
        assert tokens.find(other) is None


def test_the_ledger_has_no_secret(tokens: AccessTokens, ledger: Ledger) -> None:
    _, secret = tokens.create("ada", Scope.ADMIN)
    rows = ledger.database.read(lambda db: db.execute(TOKENS.select()).all())
    assert secret not in str(rows)
    assert secret.removeprefix("ptph_") not in str(rows)
    assert digest_secret(secret) in str(rows)
    assert secret not in str(tokens.list_lines())


@pytest.mark.parametrize("name", ["", "Ada", "-x", "a b", "a/b", "a\0", "a\n", "x" * 64, "é", "anybody?", "a'--"])
def test_a_text_that_is_no_name_is_refused(tokens: AccessTokens, name: str) -> None:
    with pytest.raises(RequestError, match="is no name of a token"):
        tokens.create(name, Scope.READ)
    assert tokens.list_lines() == []


def test_a_name_is_given_once_also_after_it_was_revoked(tokens: AccessTokens) -> None:
    tokens.create("a" * 63, Scope.READ)
    tokens.create("ada", Scope.READ)
    tokens.revoke("ada")
    with pytest.raises(RequestError, match="there is a token 'ada' already"):
        tokens.create("ada", Scope.ADMIN)
    assert [(line.name, line.scope) for line in tokens.list_lines()] == [("a" * 63, Scope.READ), ("ada", Scope.READ)]


def test_of_eight_who_take_a_name_at_once_one_gets_it(tokens: AccessTokens) -> None:
    barrier = threading.Barrier(8)

    def create(_number: int) -> str | None:
        barrier.wait(30)
        try:
            return tokens.create("ada", Scope.READ)[1]
        except RequestError:
            return None

    with ThreadPoolExecutor(8) as threads:
        secrets = [secret for secret in threads.map(create, range(8)) if secret]
    assert len(secrets) == 1
    assert tokens.find(secrets[0]) is not None


def test_a_creation_whose_answer_was_lost_gives_the_token_that_is_there(
    tokens: AccessTokens, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(ledger, monkeypatch)
    line, secret = tokens.create("ada", Scope.READ)
    found = tokens.find(secret)
    assert found is not None
    assert found.token == line.token
    assert len(tokens.list_lines()) == 1


def test_a_token_ends_at_its_date(tokens: AccessTokens, ledger: Ledger) -> None:
    line, secret = tokens.create("ada", Scope.READ, expires_s=60)
    assert line.expires_ns is not None
    assert line.expires_ns - line.created_ns == 60 * 10**9
    assert line.state == "valid"
    assert replace(line, read_ns=line.expires_ns - 1).state == "valid"
    assert replace(line, read_ns=line.expires_ns).state == "expired"
    ledger.database.write(lambda db: db.execute(TOKENS.update().values(expires_ns=now_ns() - 1)))
    expired = tokens.find(secret)
    assert expired is not None
    assert expired.state == "expired"
    assert [line.state for line in tokens.list_lines()] == ["expired"]
    assert tokens.revoke("ada").state == "revoked"


@pytest.mark.parametrize("expires_s", [0.0, -1.0, 59.9, 10 * 366 * 86400.0 + 1, float("inf"), float("nan")])
def test_a_validity_that_makes_no_sense_is_refused(tokens: AccessTokens, expires_s: float) -> None:
    with pytest.raises(RequestError, match="valid from 1 minute to 10 years"):
        tokens.create("ada", Scope.READ, expires_s=expires_s)
    tokens.create("ada", Scope.READ, expires_s=10 * 366 * 86400.0)


def test_a_revoked_token_stays_revoked(tokens: AccessTokens) -> None:
    _, secret = tokens.create("ada", Scope.READ)
    tokens.create("bob", Scope.READ)
    revoked = tokens.revoke("ada")
    assert revoked.state == "revoked"
    assert tokens.revoke("ada").revoked_ns == revoked.revoked_ns
    found = tokens.find(secret)
    assert found is not None
    assert found.state == "revoked"
    assert [line.state for line in tokens.list_lines()] == ["revoked", "valid"]
    for name in ("eve", "\0", ""):
        with pytest.raises(RequestError, match="there is no token"):
            tokens.revoke(name)


def test_its_use_is_noted_at_most_once_a_minute(tokens: AccessTokens, ledger: Ledger) -> None:
    line, secret = tokens.create("ada", Scope.READ)
    tokens.note_use(line)
    used = tokens.find(secret)
    assert used is not None
    assert used.last_used_ns is not None
    assert 0 <= used.last_used_ns - line.created_ns < 60e9
    ledger.database.write(lambda db: db.execute(TOKENS.update().values(last_used_ns=1)))
    tokens.note_use(replace(used, last_used_ns=used.read_ns - 59 * 10**9))
    assert last_used(ledger) == 1
    tokens.note_use(replace(used, last_used_ns=used.read_ns - 60 * 10**9))
    assert last_used(ledger) > 1


def last_used(ledger: Ledger) -> int:
    return int(ledger.database.read(lambda db: db.execute(sql.select(TOKENS.c.last_used_ns)).scalar_one()))
