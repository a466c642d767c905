"""How a service is reached: by HTTPS with a certificate of its own, and behind proxies that are named."""

import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.errors import RequestError
from harness.model.tasks import Scope
from harness.service.server import Certificate, parse_proxies
from harness.store.tables import TOKENS
from tests.servers.service import RunningService, running_service

MakePair = Callable[..., tuple[Path, Path]]


@pytest.fixture
def make_pair(tmp_path: Path) -> MakePair:
    """Makes a certificate for 127.0.0.1 and its key, in PEM."""

    def make(name: str = "server", *, password: bytes | None = None) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        encryption: Any = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password)
        pem = serialization.Encoding.PEM
        paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(pem))
        paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
        return paths

    return make


def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


# -- HTTPS


def test_a_service_with_a_certificate_is_reached_by_https_alone(tmp_path: Path, make_pair: MakePair) -> None:
    pair = Certificate.load(*make_pair())
    with running_service(ledger_url(tmp_path), tmp_path / "state", certificate=pair) as service:
        assert service.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        with httpx2.Client(verify=trusted, headers=service.headers()) as client:
            assert client.get(f"{service.url}/v1/tasks").status_code == 200
        with pytest.raises(httpx2.ConnectError), httpx2.Client() as stranger:
            stranger.get(f"{service.url}/healthz")
        with pytest.raises(httpx2.HTTPError), httpx2.Client() as plain:
            plain.get(service.url.replace("https://", "http://") + "/healthz")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            old = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
            old.minimum_version = old.maximum_version = version
            with httpx2.Client(verify=old) as client:
                assert client.get(f"{service.url}/healthz").status_code == 200


def test_a_client_that_never_finishes_the_handshake_holds_nobody_up(tmp_path: Path, make_pair: MakePair) -> None:
    pair = Certificate.load(*make_pair())
    with running_service(ledger_url(tmp_path), tmp_path / "state", certificate=pair) as service:
        port = int(service.url.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for client in silent[::2]:
            client.sendall(b"\x16\x03\x01\x02\x00")
        begun = time.monotonic()
        assert service.get("/healthz", None).status_code == 200
        assert time.monotonic() - begun < 10
        for client in silent:
            client.close()


@pytest.mark.parametrize("case", ["another key", "no such file", "no pem", "a password", "a folder"])
def test_a_certificate_that_cannot_be_used_is_refused_before_anything_listens(
    tmp_path: Path, make_pair: MakePair, case: str
) -> None:
    certificate, key = make_pair(password=b"secret" if case == "a password" else None)
    if case == "another key":
        _, key = make_pair("other")
    elif case == "no such file":
        key = tmp_path / "none.key"
    elif case == "no pem":
        certificate.write_text("no certificate")
    elif case == "a folder":
        certificate = tmp_path
    with pytest.raises(RequestError, match=r"the certificate .* cannot be used") as refused:
        Certificate.load(certificate, key)
    assert "has no password" in refused.value.next_step


@pytest.mark.parametrize("given", [(True, False), (False, True)])
def test_a_certificate_without_its_key_is_refused(make_pair: MakePair, given: tuple[bool, bool]) -> None:
    pair = [path if there else None for path, there in zip(make_pair(), given, strict=True)]
    with pytest.raises(RequestError, match="go together"):
        Certificate.load(pair[0], pair[1])
    assert Certificate.load(None, None) is None


# -- proxies


def refused_from(service: RunningService, **headers: str) -> str:
    """The address in the audit log of a request that was refused, sent with these headers."""
    known = len(service.context.audit.list_lines(most=500))
    with service.client(None) as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        assert client.post("/v1/tasks", json={}, headers=sent).status_code == 401
    give_up_at = time.monotonic() + 10
    while len(lines := service.context.audit.list_lines(most=500)) == known:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return lines[0].entry.address


def test_what_a_client_says_of_its_address_counts_for_nothing(tmp_path: Path) -> None:
    for proxies in ((), ("10.0.0.1",), ("10.0.0.0/8", "192.0.2.7")):
        with running_service(ledger_url(tmp_path), tmp_path / "state", proxies=proxies) as service:
            assert refused_from(service, X_Forwarded_For="203.0.113.9") == "127.0.0.1"
            assert refused_from(service, Forwarded="for=203.0.113.9") == "127.0.0.1"
            assert refused_from(service, X_Real_IP="203.0.113.9") == "127.0.0.1"


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9, 127.0.0.1", "203.0.113.9"),
        ("", "127.0.0.1"),
    ],
)
def test_what_a_named_proxy_says_of_a_client_counts(tmp_path: Path, said: str, address: str) -> None:
    """Of several the last that is no proxy: a client can write any before it."""
    with running_service(ledger_url(tmp_path), tmp_path / "state", proxies=("127.0.0.1",)) as service:
        assert refused_from(service, X_Forwarded_For=said) == address


def test_what_a_proxy_says_is_no_way_to_write_nonsense(tmp_path: Path) -> None:
    with running_service(ledger_url(tmp_path), tmp_path / "state", proxies=("127.0.0.1",)) as service:
        for said in ("x" * 5000, "' OR 1=1 --", "203.0.113.9:99999999", "unknown", "_hidden, _hidden"):
            assert len(refused_from(service, X_Forwarded_For=said)) <= 64


def test_proxies_are_addresses_or_networks() -> None:
    assert parse_proxies(["10.0.0.1", "10.0.0.0/24", "::1", "fd00::/8"]) == (
        "10.0.0.1",
        "10.0.0.0/24",
        "::1",
        "fd00::/8",
    )
    assert parse_proxies([]) == ()
    for text in ("*", "proxy.example.org", "10.0.0.1/24", "", "10.0.0"):
        with pytest.raises(RequestError, match="it must be an address or a network"):
            parse_proxies([text])


# -- tokens that end


def test_a_token_is_refused_once_it_has_expired(tmp_path: Path) -> None:
    with running_service(ledger_url(tmp_path), tmp_path / "state") as service:
        answer = service.post("/v1/tokens", Scope.ADMIN, json={"name": "short", "scope": "read", "expires": "1m"})
        headers = {"Authorization": f"Bearer {answer.json()['secret']}"}
        with service.client(None) as client:
            assert client.get("/v1/tasks", headers=headers).status_code == 200
            ended = TOKENS.update().where(TOKENS.c.name == "short").values(expires_ns=service.ledger.now_ns())
            service.ledger.database.write(lambda db: db.execute(ended))
            give_up_at = time.monotonic() + 4
            while (refused := client.get("/v1/tasks", headers=headers)).status_code == 200:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
        assert (refused.status_code, refused.json()["detail"]) == (401, "the token 'short' is expired")
        assert refused.headers["www-authenticate"] == "Bearer"


def test_answers_are_stored_by_nobody_and_are_what_they_say(tmp_path: Path) -> None:
    with running_service(ledger_url(tmp_path), tmp_path / "state") as service, closing(service.client()) as client:
        for path in ("/v1/tasks", "/v1/nowhere", "/healthz", "/metrics", "/v1/openapi.json"):
            answer = client.get(path)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
