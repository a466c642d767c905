"""The certificate of a service is verified by those of this machine, and nothing is sent to one that is not trusted."""

from pathlib import Path

import pytest

from harness.client.client import Client
from harness.errors import SetupError
from harness.model.tasks import Scope
from harness.service.server import Certificate
from tests.servers.cutting_proxy import cutting_proxy
from tests.servers.service import running_service
from tests.unit.service.test_listening import MakePair, make_pair

__all__ = ["make_pair"]


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    tmp_path: Path, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_pair()
    pair = Certificate.load(certificate, key)
    with running_service(f"sqlite:///{tmp_path / 'x.sqlite'}", tmp_path / "state", certificate=pair) as service:
        secret = service.tokens[Scope.READ]
        with Client(service.url, secret) as client, pytest.raises(SetupError, match="is not trusted: self") as refused:
            client.version()
        assert "SSL_CERT_FILE" in refused.value.next_step
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Client(service.url, secret) as client:
            assert client.version().api == "v1"
        with (
            cutting_proxy(service.url) as proxy,
            Client(proxy.url.replace("http://127.0.0.1", "https://localhost"), secret) as client,
            pytest.raises(SetupError, match="is not trusted: Hostname mismatch"),
        ):
            client.version()
