"""A kubeconfig that chooses no cluster is one sentence, which names what there is instead."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cluster.connection import IN_POD, connect
from harness.errors import RequestError

CONFIG: dict[str, Any] = {
    "current-context": "staging",
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "ada", "user": {"token": "t"}}],
    "contexts": [
        {"name": "staging", "context": {"cluster": "c", "user": "ada", "namespace": "ptp"}},
        {"name": "nobody", "context": {"cluster": "c"}},
        {"name": "broken", "context": {"cluster": "gone", "user": "ada"}},
    ],
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(CONFIG))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_the_current_context_and_its_namespace_are_chosen(file: Path) -> None:
    chosen = connect()
    assert str(chosen) == "context staging, namespace ptp, https://127.0.0.1:1"
    assert connect(namespace="other").namespace == "other"


def test_a_context_without_a_namespace_means_default(file: Path) -> None:
    with pytest.raises(RequestError, match="the context nobody names no user"):
        connect("nobody")


@pytest.mark.parametrize("name", ["stagin", "broken"])
def test_a_context_that_is_not_there_names_those_that_are(file: Path, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        connect(name)
    assert caught.value.message == f"{file} has no context {name}, or not its cluster or user"
    assert caught.value.next_step == "--context NAME, one of: broken, nobody, staging"


def test_a_file_without_a_current_context_asks_for_one(file: Path) -> None:
    file.write_text(yaml.safe_dump({**CONFIG, "current-context": ""}))
    with pytest.raises(RequestError, match="has no current context"):
        connect()


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "clusters: 5\ncontexts: []", "x" * 100, "clusters: []"])
def test_a_file_that_is_no_kubeconfig(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(RequestError, match=r"is no kubeconfig|has no current context"):
        connect()


def test_no_file(file: Path) -> None:
    file.unlink()
    with pytest.raises(RequestError) as caught:
        connect()
    assert (caught.value.message, caught.value.next_step) == (
        f"there is no kubeconfig {file}",
        "set KUBECONFIG to the file of your cluster",
    )


def test_credentials_whose_file_is_missing(file: Path) -> None:
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority": "gone.pem"}
    file.write_text(yaml.safe_dump({**CONFIG, "clusters": [{"name": "c", "cluster": cluster}]}))
    with pytest.raises(RequestError, match="the context staging cannot be used"):
        connect()


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", "t"), ("namespace", "ptp"), ("ca.crt", "")):
        (account / name).write_text(text)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("harness.cluster.connection.SERVICE_ACCOUNT", str(account))
    with pytest.raises(RequestError, match="cannot be used"):  # the certificate is empty
        connect()
    assert IN_POD == "the pod's service account"
