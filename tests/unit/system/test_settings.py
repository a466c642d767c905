"""Settings come from the environment, and a wrong value is named."""

from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.system import settings


def test_directories_follow_the_xdg_base_directories() -> None:
    found = settings.load({"HOME": "/home/a", "XDG_CACHE_HOME": "/cache"})
    assert (found.state_dir, found.cache_dir) == (
        Path("/home/a/.local/state/ptp-harness"),
        Path("/cache/ptp-harness"),
    )
    assert found.runs_dir == Path("/home/a/.local/state/ptp-harness/runs")
    assert found.ledger_url == "sqlite:////home/a/.local/state/ptp-harness/ledger.sqlite"
    assert (found.ssh_tries, found.ssh_first_backoff_s) == (5, 1.0)


def test_our_own_variables_win() -> None:
    environ = {
        "HOME": "/home/a",
        "PTP_HARNESS_STATE_DIR": "/s",
        "PTP_HARNESS_CACHE_DIR": "/c",
        "PTP_HARNESS_SSH_TRIES": "2",
        "PTP_HARNESS_SSH_BACKOFF": "0.5",
    }
    found = settings.load(environ)
    assert (found.state_dir, found.cache_dir, found.ssh_tries, found.ssh_first_backoff_s) == (
        Path("/s"), Path("/c"), 2, 0.5,
    )  # fmt: skip


def test_the_lab_s_parts_are_in_the_cache_or_in_a_shared_one() -> None:
    assert settings.load({"PTP_HARNESS_CACHE_DIR": "/c"}).lab_parts_dir == Path("/c/lab")
    shared = settings.load({"PTP_HARNESS_CACHE_DIR": "/c", "PTP_HARNESS_LAB_CACHE": "/shared"})
    assert (shared.lab_parts_dir, shared.cache_dir) == (Path("/shared"), Path("/c"))


@pytest.mark.parametrize(("name", "value"), [("TRIES", "0"), ("TRIES", "many"), ("TRIES", "nan"), ("BACKOFF", "-1")])
def test_a_wrong_number_is_named(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=f"PTP_HARNESS_SSH_{name}='{value}' is not a number of at least"):
        settings.load({f"PTP_HARNESS_SSH_{name}": value})


def test_the_assets_are_where_the_playbooks_are() -> None:
    assert (settings.assets_dir() / "playbooks" / "configure.yml").is_file()


def test_pulumi_s_program_and_backend_are_settings() -> None:
    told = settings.load({"PTP_HARNESS_PULUMI": "/opt/pulumi", "PTP_HARNESS_PULUMI_BACKEND": "s3://states"})
    assert (told.pulumi, told.pulumi_backend) == ("/opt/pulumi", "s3://states")
    assert (settings.load({}).pulumi, settings.load({"PTP_HARNESS_PULUMI_BACKEND": ""}).pulumi_backend) == (None, None)


@pytest.mark.parametrize("value", ["inf", "1e308", "-inf", "101", "9" * 400])
def test_a_number_has_an_upper_bound(value: str) -> None:
    with pytest.raises(RequestError, match="is not a number of at least 1 and at most 100") as refused:
        settings.load({"PTP_HARNESS_SSH_TRIES": value})
    assert len(refused.value.message) < 250


@pytest.mark.parametrize("name", ["PTP_HARNESS_STATE_DIR", "PTP_HARNESS_CACHE_DIR", "HOME", "XDG_STATE_HOME"])
@pytest.mark.parametrize("value", ["/a\nb", "/\x1b[2J", "/\udcff", "/{{ x }}", "/" + "x" * 5000], ids=ascii)
def test_a_folder_is_a_path_that_can_be_shown(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=f"^{name} names no file or folder: it ") as refused:
        settings.load({name: value})
    assert refused.value.message.isprintable()


def test_a_folder_holds_from_everywhere() -> None:
    assert settings.load({"PTP_HARNESS_CACHE_DIR": "my cache"}).cache_dir == Path.cwd() / "my cache"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PULUMI", "-x"),
        ("PULUMI", "a\nb"),
        ("PULUMI_BACKEND", "-x"),
        ("PULUMI_BACKEND", "s3://a\nb"),
        ("PULUMI_BACKEND", "x"),
    ],
)
def test_pulumi_is_no_option(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=f"PTP_HARNESS_{name}=.* is not a "):
        settings.load({f"PTP_HARNESS_{name}": value})


def test_the_url_of_the_ledger_may_be_in_a_file_and_the_variable_goes_before(tmp_path: Path) -> None:
    secret = tmp_path / "ledger-url"
    secret.write_text("postgresql://ptp:secret@db/ptp\n")
    environ = {"PTP_HARNESS_LEDGER_URL_FILE": str(secret)}
    assert settings.load(environ).ledger_url == "postgresql://ptp:secret@db/ptp"
    chosen = environ | {"PTP_HARNESS_LEDGER_URL": "sqlite:////x"}
    assert settings.load(chosen).ledger_url == "sqlite:////x"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*/ledger-url: No such file"),
        (b"\n", "ledger-url is empty"),
        (b"\xff", "it is no text"),
        (b"sqlite:///\x00secret", "PTP_HARNESS_LEDGER_URL_FILE holds no URL"),
    ],
)
def test_a_file_without_a_url_is_refused_and_never_shown(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    secret = tmp_path / "ledger-url"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(RequestError, match=sentence) as refused:
        settings.load({"PTP_HARNESS_LEDGER_URL_FILE": str(secret)})
    assert "secret" not in str(refused.value)
