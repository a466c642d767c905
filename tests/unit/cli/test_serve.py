"""`serve` and `work`, started as processes: where they listen, what they refuse, and how they end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Call = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.programs


@contextmanager
def started(folder: Path, *words: str) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """The command as a process of its own, and the first line that it prints."""
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(folder / "state"), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline()
        finally:
            process.kill()


def test_it_says_where_it_listens_and_ends_at_a_signal(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--listen", "127.0.0.1:0") as (process, line):
        address = line.split()[2].rstrip(";")
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'{"status":"ok"}')
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_in_use_is_one_sentence(tmp_path: Path, call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = call("serve", "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1:" in done.stderr
    assert "another program may have the port" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--listen", "8440"), "--listen is '8440': it must be HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "it must be HOST:PORT"),
        (("--open", "--listen", "0.0.0.0:0"), "--open serves everybody who reaches 0.0.0.0:0, with every right"),
        (("--open", "--listen", "[::]:0"), "--open serves everybody"),
        (("--certificate", "cert.pem"), "--certificate and --key go together"),
        (("--certificate", "no.pem", "--key", "no.key"), "the certificate no.pem and the key no.key cannot be used"),
        (("--per-bench", "lab=0"), "--per-bench is 'lab=0': it must be BENCH=N"),
        (("--per-bench", "mars=1"), "--per-bench is 'mars=1'"),
        (("--proxy", "*"), "--proxy is '*': it must be an address or a network"),
        (("--archive-host", "https://x.test/"), "--archive-host is 'https://x.test/': it must be a host's name"),
        (("--parallel", "0"), "Invalid value for '--parallel'"),
    ],
)
def test_what_is_wrong_is_one_sentence(call: Call, words: tuple[str, ...], sentence: str) -> None:
    done = call("serve", *words)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())


def test_work_waits_for_campaigns_until_a_signal(tmp_path: Path) -> None:
    with started(tmp_path, "work", "--parallel", "3") as (process, line):
        assert line == "carrying out campaigns, 3 at once; Ctrl-C ends this, not those that run\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
