"""A receiver is told of each incident's beginning and end: signed, in order, again after a failure, and nobody else."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from harness.errors import RequestError
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.tables import WATCH_INCIDENTS
from harness.store.watch_told import IncidentTellings
from harness.watch.http_posts import may_connect
from harness.watch.webhook import IncidentWebhook, make_target, read_secret, sign
from tests.servers.certificates import make_authority
from tests.servers.receiver import Post, Receiver, ScriptedAnswer, serve_receiver

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
LOOPBACK = ("127.0.0.1",)
OK = ScriptedAnswer(200)

AddIncident = Callable[..., None]


@pytest.fixture
def webhook(ledger: Ledger, receiver: Receiver) -> Iterator[IncidentWebhook]:
    made = make_webhook(ledger, receiver.url)
    yield made
    made.close()


def make_webhook(ledger: Ledger, url: str, **options: Any) -> IncidentWebhook:
    return IncidentWebhook(ledger.database, make_target(url, SECRET, hosts_allowed=LOOPBACK), **options)


@pytest.fixture
def add_incident(ledger: Ledger) -> AddIncident:
    """Adds an incident, or has one end."""

    def add(name: str, *, ended: bool = False, ago_s: float = 5.0, streams: int = 3, **texts: str) -> None:
        at_ns = now_ns() - round(ago_s * 1e9)
        values = {
            "kind": "kernel", "cause": "kernel 6.1.0-30", "sentence": "3 of 4 clocks of kernel 6.1.0-30 are broken",
            "recommendation": "boot the kernel before", "streams": [f"host-{n}" for n in range(streams)], "told": {},
            **texts,
        }  # fmt: skip
        insert = WATCH_INCIDENTS.insert().values(incident=name, **values, began_ns=at_ns)
        insert = insert.values(ended_ns=at_ns + 1_000_000_000 if ended else None)
        ledger.database.write(lambda db: db.execute(insert))

    return add


def end(ledger: Ledger, name: str) -> None:
    ended = WATCH_INCIDENTS.update().where(WATCH_INCIDENTS.c.incident == name).values(ended_ns=now_ns())
    ledger.database.write(lambda db: db.execute(ended))


def pass_time(ledger: Ledger, seconds: float) -> None:
    """Have all times of the incidents be so much longer ago."""
    with ledger.database.connect() as db:
        for row in db.execute(sql.select(WATCH_INCIDENTS)).all():
            told = json.loads(json.dumps(row.told))
            for entries in told.values():
                for entry in entries.values():
                    entry["next_ns"] -= round(seconds * 1e9)
            moved = WATCH_INCIDENTS.update().where(WATCH_INCIDENTS.c.incident == row.incident).values(told=told)
            db.execute(moved.values(began_ns=row.began_ns - round(seconds * 1e9)))


def types(posts: list[Post]) -> list[tuple[str, str]]:
    documents = [json.loads(post.body) for post in posts]
    return [(document["data"]["incident"], document["type"].rpartition(".")[2]) for document in documents]


def is_signed(post: Post) -> bool:
    """What a receiver checks, by the standard's own words."""
    content = b".".join([post.headers["webhook-id"].encode(), post.headers["webhook-timestamp"].encode(), post.body])
    digest = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    return post.headers["webhook-signature"] == f"v1,{digest}"


def test_the_beginning_and_the_end_of_an_incident_are_told_once_each_signed(
    ledger: Ledger, webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    add_incident("i1")
    assert webhook.step() == 1
    assert webhook.step() == 0
    end(ledger, "i1")
    assert webhook.step() == 1
    assert webhook.step() == 0
    assert types(receiver.posts) == [("i1", "began"), ("i1", "ended")]
    assert [post.headers["webhook-id"] for post in receiver.posts] == ["i1-began", "i1-ended"]
    assert all(is_signed(post) for post in receiver.posts)
    document = json.loads(receiver.posts[0].body)
    assert document["type"] == "watch.incident.began"
    assert document["data"]["cause"] == "kernel 6.1.0-30"
    assert document["data"]["recommendation"] == "boot the kernel before"
    assert (document["data"]["streams"], document["data"]["stream_count"]) == (["host-0", "host-1", "host-2"], 3)
    assert document["data"]["ended"] is None
    assert json.loads(receiver.posts[1].body)["data"]["ended"].endswith("+00:00")


def test_an_incident_that_ended_meanwhile_is_told_from_its_beginning_on(
    webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    add_incident("i1", ended=True)
    assert webhook.step() == 2
    assert types(receiver.posts) == [("i1", "began"), ("i1", "ended")]


def test_a_receiver_that_fails_is_told_again_later_with_the_same_id_also_by_the_next_process(
    ledger: Ledger, webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    add_incident("i1", ended=True)
    receiver.script(ScriptedAnswer(500, body=b"\x1b[31mno"), ScriptedAnswer(429, {"Retry-After": "100"}), OK)
    assert webhook.step() == 0
    assert webhook.step() == 0
    assert len(receiver.posts) == 1, "nothing is sent before the pause is over"
    assert IncidentTellings(ledger.database).count_untold() == 1
    pass_time(ledger, 3)
    assert webhook.step() == 0
    pass_time(ledger, 90)
    assert webhook.step() == 0
    pass_time(ledger, 20)
    again = make_webhook(ledger, receiver.url)
    assert again.step() == 2
    again.close()
    ids = [post.headers["webhook-id"] for post in receiver.posts]
    assert ids == ["i1-began", "i1-began", "i1-began", "i1-ended"]
    assert IncidentTellings(ledger.database).count_untold() == 0


def test_one_incident_that_is_refused_holds_up_no_other(
    webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    for name in ("i1", "i2", "i3"):
        add_incident(name)
    receiver.answer = lambda post: ScriptedAnswer(400) if b'"i2"' in post.body else OK
    assert webhook.step() == 2
    assert sorted(types(receiver.posts)) == [("i1", "began"), ("i2", "began"), ("i3", "began")]


def test_what_is_a_day_old_is_told_no_more(
    ledger: Ledger, webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    add_incident("old", ended=True, ago_s=90_000)
    add_incident("open", ago_s=90_000)
    assert webhook.step() == 0
    end(ledger, "open")
    assert webhook.step() == 1
    assert types(receiver.posts) == [("open", "ended")]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(
    ledger: Ledger, webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident, status: int
) -> None:
    add_incident("i1")
    receiver.script(ScriptedAnswer(status, {"Location": f"http://127.0.0.1:{receiver.port}/other"}), OK)
    assert webhook.step() == 0
    assert [post.path for post in receiver.posts] == ["/hook"]


def test_texts_of_hosts_are_bounded_and_steer_no_terminal(
    webhook: IncidentWebhook, receiver: Receiver, add_incident: AddIncident
) -> None:
    add_incident("i1", streams=1000, sentence="\x1b[2J" + "x" * 100_000, cause="a\u202eb")
    webhook.step()
    body = receiver.posts[0].body
    document = json.loads(body)["data"]
    assert len(body) < 20_000
    assert (len(document["streams"]), document["stream_count"]) == (200, 1000)
    assert document["cause"] == "a\\u202eb"
    assert document["sentence"].startswith("\\x1b[2J")


# --- who may be told --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",  # anybody on the way could change it
        "https://10.0.0.7/hook", "https://127.0.0.1/hook", "https://localhost/hook", "https://metadata.internal/x",
        "https://[::1]/hook", "https://169.254.169.254/latest", "https://0x7f000001/hook", "https://router/hook",
        "ftp://example.org/hook", "example.org", "https://", "https://user:secret@example.org/hook",
        "https://example.org/a b", "https://example.org:99999/", "https://example.org/#secret",
    ],
)  # fmt: skip
def test_a_url_that_leads_into_an_own_network_or_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(RequestError) as refused:
        make_target(url, SECRET)
    assert "webhook" in refused.value.message
    assert "secret" not in str(refused.value)


def test_a_host_of_an_own_network_is_told_where_it_is_allowed() -> None:
    assert make_target("https://alerts.internal/hook?token=t", SECRET, hosts_allowed=["alerts.internal"]).label == (
        "https://alerts.internal"
    )
    make_target("https://hooks.example.org/T/B?x=1", SECRET)
    assert "token" not in repr(make_target("https://example.org/?token=t", SECRET))


@pytest.mark.parametrize(
    ("address", "host", "allowed", "expected"),
    [
        ("93.184.216.34", "example.org", (), True),
        ("10.0.0.7", "example.org", (), False),
        ("10.0.0.7", "alerts.internal", ("alerts.internal",), True),
        ("127.0.0.1", "alerts.internal", ("alerts.internal",), False),
        ("127.0.0.1", "127.0.0.1", ("127.0.0.1",), True),
        ("169.254.169.254", "alerts.internal", ("alerts.internal",), False),
        ("fd00:ec2::254", "alerts.internal", ("alerts.internal",), False),
        ("::ffff:127.0.0.1", "alerts.internal", ("alerts.internal",), False),
        ("fe80::1%eth0", "alerts.internal", ("alerts.internal",), False),
    ],
)
def test_the_address_decides_not_the_name(address: str, host: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert may_connect(address, host, allowed) is expected


def test_a_name_that_leads_elsewhere_later_is_not_connected_to(
    ledger: Ledger, receiver: Receiver, add_incident: AddIncident
) -> None:
    """The address that was checked is the one that is connected to; one bad address among several refuses them all."""
    add_incident("i1")
    target = make_target(f"https://example.org:{receiver.port}/hook", SECRET)
    for addresses in (["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], []):
        webhook = IncidentWebhook(ledger.database, target, find=lambda _host, _port, found=addresses: found)
        pass_time(ledger, 3600)
        assert webhook.step() == 0
        webhook.close()
    assert receiver.posts == []
    assert IncidentTellings(ledger.database).list_untold(target.name)[0].telling.problem == "has no address"


@pytest.mark.parametrize(("name", "problem"), [("hooks.example.org", None), ("other.example.org", "not trusted")])
def test_the_certificate_is_that_of_the_name_although_an_address_is_connected_to(
    ledger: Ledger, add_incident: AddIncident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    problem: str | None,
) -> None:  # fmt: skip
    add_incident("i1")
    authority = make_authority(tmp_path / "authority")
    authority.sign_server(tmp_path / "server", ["hooks.example.org"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with serve_receiver(tmp_path / "server") as receiver:
        target = make_target(f"https://{name}:{receiver.port}/hook?t=1", SECRET, hosts_allowed=LOOPBACK)
        webhook = IncidentWebhook(ledger.database, target, find=lambda _host, _port: ["127.0.0.1"])
        assert webhook.step() == (0 if problem else 1)
        webhook.close()
        hosts = [(post.headers["host"], post.path) for post in receiver.posts]
        assert hosts == ([] if problem else [(f"{name}:{receiver.port}", "/hook?t=1")])
    told = IncidentTellings(ledger.database).list_untold(target.name)
    assert [problem in str(each.telling.problem) for each in told if problem] == ([True] if problem else [])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "short", "whsec_" + base64.b64encode(b"x" * 8).decode()])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(RequestError, match="24 to 64 bytes") as refused:
        read_secret(secret)
    assert not secret or secret == "whsec_" or secret not in str(refused.value)


def test_the_signature_is_that_of_the_standard_s_own_example() -> None:
    """From https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
