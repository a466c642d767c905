"""Where a watch delivers to: variables and files, with every mistake told and no secret shown."""

import base64
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.object_store import open_store
from harness.store.tables import WATCH_INCIDENTS
from harness.store.watch_samples import WatchSamples
from harness.watch.delivery import DeliveryOptions, make_deliveries, read_delivery_options
from tests.doubles.readings import make_chunk
from tests.servers.receiver import Receiver
from tests.unit.watch.conftest import AddStreams

WRITE, HOOK = "PTP_HARNESS_WATCH_REMOTE_WRITE", "PTP_HARNESS_WATCH_WEBHOOK"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
STORE = {f"{WRITE}_URL": "https://vm.example.org/api/v1/write"}


def headers(**more: str) -> dict[str, str]:
    store = read_delivery_options({**STORE, **{f"{WRITE}_{name}": value for name, value in more.items()}}).remote_store
    assert store is not None
    return dict(store.headers)


def test_without_variables_nothing_is_delivered_and_samples_are_kept_for_two_days() -> None:
    assert read_delivery_options({}) == DeliveryOptions(remote_store=None, webhook=None, kept_days=2)
    assert read_delivery_options({"PTP_HARNESS_WATCH_KEPT_DAYS": "7"}).kept_days == 7


def test_a_store_is_asked_with_a_bearer_a_password_or_a_header(tmp_path: Path) -> None:
    assert headers() == {}
    assert headers(BEARER="abc") == {"Authorization": "Bearer abc"}
    assert headers(BASIC="ada:p:w") == {"Authorization": "Basic " + base64.b64encode(b"ada:p:w").decode()}
    assert headers(HEADER="X-Scope-OrgID: team 1") == {"X-Scope-OrgID": "team 1"}
    (tmp_path / "token").write_text("from a file\n".replace(" ", "-"))
    assert headers(BEARER_FILE=str(tmp_path / "token")) == {"Authorization": "Bearer from-a-file"}


def test_a_store_is_named_without_what_may_be_secret() -> None:
    options = read_delivery_options({f"{WRITE}_URL": "https://vm.example.org/insert/0/secret?key=secret"})
    assert options.remote_store is not None
    assert options.remote_store.label == "https://vm.example.org"
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({f"{WRITE}_BEARER": "xsecret"}, "is set, and"),
        ({**STORE, f"{WRITE}_BEARER": "xsecret", f"{WRITE}_BASIC": "a:xsecret"}, "are both set"),
        ({**STORE, f"{WRITE}_BEARER": "xsecret\nX-Other: 1"}, "does not hold a token of one line"),
        ({**STORE, f"{WRITE}_BASIC": "xsecret"}, "does not hold USER:PASSWORD"),
        ({**STORE, f"{WRITE}_HEADER": "xsecret"}, "does not hold a header"),
        ({**STORE, f"{WRITE}_HEADER": "Host: xsecret"}, "does not hold a header"),
        ({**STORE, f"{WRITE}_HEADER": "A: b\r\nB: xsecret"}, "does not hold a header"),
        ({**STORE, f"{WRITE}_BEARER_FILE": "/nowhere/at/all"}, "cannot read /nowhere/at/all"),
        ({**STORE, f"{WRITE}_BEARER_FILE": "/dev/null"}, "/dev/null is empty"),
        ({**STORE, f"{WRITE}_URL_FILE": "/dev/null"}, "are both set"),
        ({f"{WRITE}_URL": "http://10.0.0.7/write", f"{WRITE}_BEARER": "xsecret"}, "over http://"),
        ({f"{WRITE}_URL": "https://ada:xsecret@vm.example.org/"}, "has a user, a query or a fragment in it"),
        ({f"{WRITE}_URL": "vm.example.org"}, "has no https:// and host"),
        ({f"{HOOK}_URL": "https://example.org/xsecret"}, "a webhook needs"),
        ({f"{HOOK}_SECRET": "xsecret"}, "a webhook needs"),
        ({f"{HOOK}_URL": "https://example.org/", f"{HOOK}_SECRET": "xsecret"}, "24 to 64 bytes"),
        ({"PTP_HARNESS_WATCH_KEPT_DAYS": "0"}, "is no number of days from 1 to 365"),
        ({"PTP_HARNESS_WATCH_KEPT_DAYS": "forever"}, "is no number of days from 1 to 365"),
    ],
)
def test_every_mistake_is_told_and_no_secret_shown(variables: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        read_delivery_options(variables)
    assert "xsecret" not in str(refused.value)
    assert refused.value.next_step


def test_plain_http_with_a_token_is_allowed_where_somebody_says_so() -> None:
    variables = {f"{WRITE}_URL": "http://vm:8428/api/v1/write", f"{WRITE}_BEARER": "x"}
    assert read_delivery_options({**variables, "PTP_HARNESS_ALLOW_PLAIN_HTTP": "1"}).remote_store is not None


def test_the_parts_deliver(ledger: Ledger, receiver: Receiver, add_streams: AddStreams, tmp_path: Path) -> None:
    add_streams("a")
    options = read_delivery_options(
        {
            f"{WRITE}_URL": receiver.url,
            f"{HOOK}_URL": receiver.url,
            f"{HOOK}_SECRET": SECRET,
            f"{HOOK}_HOSTS": "127.0.0.1",
        }
    )
    parts = make_deliveries(ledger.database, options, open_store(f"file://{tmp_path}"))
    assert [part.name for part in parts] == ["remote write", "webhook", "archive"]
    WatchSamples(ledger.database).store([make_chunk("a", range(60))], worker="w", replayed=False)
    values = {"kind": "k", "cause": "c", "streams": [], "sentence": "s", "recommendation": "r", "told": {}}
    insert = WATCH_INCIDENTS.insert().values(incident="i", **values, began_ns=now_ns())
    ledger.database.write(lambda db: db.execute(insert))
    told = []
    for part in parts:
        with part.open:
            told += part.do()
    assert [post.headers.get("webhook-id") for post in receiver.posts] == [None, "i-began"]
    assert told == [f"1970-01-01 of a: 60 samples are in file://{tmp_path}"]
    assert make_deliveries(ledger.database, DeliveryOptions(), None) == []
