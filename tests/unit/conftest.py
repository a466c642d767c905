"""A machine that never answers, and a host with everything proven, to be taken apart by the tests."""

import functools
import os
import re
import shlex
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import typer

from harness.campaign import limits
from harness.campaign.limits import Requirement
from harness.cli.app import NAME, app
from harness.model import (
    ChronySource,
    Claim,
    Clock,
    Driver,
    Evidence,
    Facts,
    Launch,
    Machine,
    Offer,
    PhcCounters,
    PhcRead,
    Placement,
    Reach,
    Sample,
    Token,
    Tracking,
)


@pytest.fixture(scope="session", autouse=True)
def models_read_once() -> Iterator[None]:
    """Let all sessions share botocore's reader of service models: EC2's takes it a third of a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of an EC2 that costs nothing, on this machine."""
    from moto.server import ThreadedMotoServer  # half a minute to import where cores are busy: only who needs it waits

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def ec2_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory for tests that need moto's list of types, which takes moto ten seconds to make."""
    return tmp_path_factory.mktemp("ec2-cache")


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of somebody whose AWS is `moto`, with nothing in their account; its address."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    mine = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in {**nowhere, **mine, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    # This AWS shares its cores with everybody else's tests.
    monkeypatch.setattr("harness.benches.ec2.api.api.READ_S", 300)
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()
    return moto


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"
UTC_NS = 1_795_233_824 * 10**9
SECOND_NS = 10**9


@pytest.fixture
def silent_machine(tmp_path: Path) -> Machine:
    """A machine whose port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Machine(
        token=Token(run="abcd", host="a"),
        instance_type="lab.phc",
        address="127.0.0.1",
        port=port,
        user="root",
        private_key=str(tmp_path / "key"),
        known_host=f"[127.0.0.1]:{port} {KEY}",
        second_opinion=None,
        placement=Placement(precise=None, detail=""),
        claim=None,
        offer=Offer(available=True, where="here"),
    )


def a_tracking(**changes: object) -> Tracking:
    values: dict[str, object] = {
        "reference": "PHC0",
        "stratum": 1,
        "reference_time_s": 1795233824.0,
        "system_offset_ns": 20,
        "last_offset_ns": -84,
        "rms_offset_ns": 90,
        "frequency_ppm": 0.3,
        "residual_frequency_ppm": 0.0,
        "skew_ppm": 0.003,
        "root_delay_ns": 10_000,
        "root_dispersion_ns": 1_300,
        "update_interval_s": 1.0,
        "leap": "Normal",
    }
    return Tracking(**{**values, **changes})  # type: ignore[arg-type]


def a_refclock(state: str = "*") -> ChronySource:
    return ChronySource(
        mode="#",
        state=state,
        name="PHC0",
        stratum=0,
        poll=0,
        reach=0o377,
        last_rx_s=1,
        offset_ns=8,
        measured_offset_ns=9,
        error_ns=5_108,
    )


def a_server(offset_ns: int = 40_000, last_rx_s: int | None = 1) -> ChronySource:
    return ChronySource(
        mode="^",
        state="?",
        name="169.254.169.123",
        stratum=1,
        poll=2,
        reach=0o377,
        last_rx_s=last_rx_s,
        offset_ns=offset_ns,
        measured_offset_ns=offset_ns,
        error_ns=100_000,
    )


def a_burst(seq: int, *, phc_ahead_ns: int = 50) -> tuple[PhcRead, ...]:
    """Five readings 40 ms apart, of which the third is the fastest and exact."""
    begun = [UTC_NS + seq * SECOND_NS + number * 40_000_000 for number in range(5)]
    took = [9_000, 8_000, 4_000, 7_000, 30_000]
    return tuple(
        PhcRead(
            before_ns=at,
            phc_ns=at + span // 2 + phc_ahead_ns + (0 if span == 4_000 else 900),
            after_ns=at + span,
        )
        for at, span in zip(begun, took, strict=True)
    )


def a_sample(slot: int) -> Sample:
    return Sample(
        slot=slot,
        mono_ns=90 * SECOND_NS + slot * SECOND_NS,
        utc_ns=UTC_NS + slot * SECOND_NS,
        tracking=a_tracking(reference_time_s=1795233824.0 + slot),
        sources=(a_refclock(), a_server(last_rx_s=slot % 4)),
        reads=a_burst(slot),
        read_errors=0,
        error_bound_ns=20_000,
        counters=PhcCounters(cnt=500 + 30 * slot, exp=0, skp=0, err_dv=0, err_ts=0, err_eb=0),
    )


def some_facts() -> Facts:
    return Facts(
        kernel="6.12.107+deb13-amd64",
        os="Debian GNU/Linux 13 (trixie)",
        kernel_has_ptp=True,
        drivers=(
            Driver(
                pci="0000:00:05.0",
                interface="eth1",
                name="ena",
                version="2.17.0g",
                phc_parameter=True,
                phc_parameter_on=True,
                devlink_parameter=False,
                devlink_on=None,
            ),
        ),
        clocks=(Clock(device="ptp0", name="ena-ptp-05", pci="0000:00:05.0", max_adjustment_ppb=0),),
        phc_link="ptp0",
        driver_word=None,
        driver_word_text=None,
        remedy=None,
        error_bound_published=True,
        counters_published=True,
        reads=a_burst(0) + a_burst(1),
        read_errors=0,
        chrony_version="4.6.1",
        tracking=a_tracking(),
        sources=(a_refclock(), a_server()),
        chronyd_runs=True,
        competitors=(),
        interference=False,
        converged=True,
        converged_after_s=3.2,
        chronyd_starts=1,
        why_not_converged=None,
        ntp_stratum=1,
        ntp_offset_ns=40_000,
        hardware_timestamping=False,
        boot_id="3f0e8d5e-1111-2222-3333-444444444444",
    )


@pytest.fixture(scope="session")
def good() -> Evidence:
    """Two minutes on a host where all is well."""
    return Evidence(
        offer=Offer(available=True, where="eu-north-1a"),
        claim=Claim(phc_supported=True, source="DescribeInstanceTypes", date="2026-11-21"),
        launch=Launch(failure=None, detail="10.0.0.5 runs"),
        reach=Reach(reached=True, tries=1, detail=""),
        placement=Placement(precise=True, detail="in a precision-time placement group"),
        facts=some_facts(),
        samples=tuple(a_sample(slot) for slot in range(120)),
        slots=120,
        final_facts=some_facts(),
    )


@pytest.fixture(scope="session")
def required() -> tuple[Requirement, ...]:
    """EC2's limits."""
    return limits.requirements("ec2")


@pytest.fixture(scope="session")
def rung_rows() -> list[tuple[str, str, str]]:
    """The rows of the table of rungs in docs/verdicts.md: rung, reasons in backticks, outcome."""
    page = Path(__file__).parents[2] / "docs" / "verdicts.md"
    table = page.read_text().partition("| rung |")[2].partition("\n\n")[0]
    rows: list[tuple[str, str, str]] = []
    for line in table.splitlines()[2:]:
        rung, _, reasons, outcome = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append((rung or rows[-1][0], reasons, outcome))  # an empty cell: the rung of the row above
    return rows


ACT_AT_ONCE = (["--version"], ["--help"], ["--install-completion"], ["--show-completion"])
"""Options that do their work while they are parsed: known to be right, and not to be tried here."""


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], None]:
    """Takes a command line apart as the command does, up to where a shell would send its output; AssertionError."""
    root = typer.main.get_command(app)

    def parse(line: str) -> None:
        words = shlex.split(line, comments=True)
        assert words[0] == NAME
        ends = [
            number
            for number, word in enumerate(words)
            if re.match(r"\d*>", word) or word in ("|", "&", "&&", ";", "||")
        ]
        words = words[1 : min(ends, default=len(words))]
        if words in ACT_AT_ONCE:
            return
        try:
            _parse(root, words)
        except Exception as error:
            if getattr(error, "exit_code", 1) != 0:  # 0: of --help
                raise AssertionError(f"{line}: {getattr(error, 'message', error)}") from error

    return parse


def _parse(command: Any, words: list[str]) -> None:
    context = command.make_context(NAME, words)
    while hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, verb, rest = context.command.resolve_command(context, rest)
        context = verb.make_context(name, rest, parent=context)
