"""The control socket: what it takes, what it refuses, and that no client can stall the device."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ena_device import bends
from ena_device.bends import KEYS, START_KEYS, Changes, check
from ena_device.control import MAX_CLIENTS, MAX_LINE, ControlError, ask
from ena_device.driver import ProgramDriver
from ena_device.running import RunningDevice

STATE_KEYS = set(KEYS) - {"step_ns", "request_reset"} | {
    *("base_utc_ns", "base_mono_ns", "asked", "answered", "refused", "silent", "late", "last_ns", "now_ns", "host_ns"),
    *("connected", "phc", "resets", "host", "mtu", "sqs", "messages", "pid"),
    *("tx_packets", "tx_dropped", "rx_packets", "rx_dropped", "rx_invalid"),
}
README = Path(bends.__file__).with_name("README.md").read_text()


def dial(device: RunningDevice) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(device.control)
    return sock


def say(device: RunningDevice, line: bytes) -> Any:
    with dial(device) as sock:
        sock.sendall(line)
        return json.loads(sock.makefile("rb").readline())


def test_state_before_anybody_came(socket_device: RunningDevice) -> None:
    state = socket_device.ask()
    assert state.keys() == STATE_KEYS
    idle = {"connected": False, "phc": False, "resets": [], "host": None, "messages": {}, "asked": 0, "end_with": []}
    defaults = {
        "mode": "ok",
        "error_bound_ns": 20_000,
        "expire_us": 50_000,
        "block_us": 60_000,
        "link": True,
        "mtu": 1500,
    }
    expected = idle | defaults | {"pid": socket_device.process.pid, "tx_packets": 0, "sqs": 0, "keepalive": True}
    assert {name: state[name] for name in expected} == expected
    assert abs(state["offset_ns"]) < 1_000_000


def test_the_tables_agree() -> None:
    assert [f.name for f in fields(Changes)] == list(KEYS)
    assert set(START_KEYS) < set(KEYS)


def test_the_readme_has_a_row_for_each_key_and_each_option() -> None:
    table = README.partition("| key | type and range | effect |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(KEYS)
    (options,) = [line for line in README.splitlines() if line.startswith("| `--offset-ns`")]
    assert re.findall(r"`--([a-z-]+)`", options) == [name.replace("_", "-") for name in START_KEYS]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "not a line of JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"hello\n", "not a line of JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe\x00\n", "not a line of JSON"),
        (b"[" * 8000 + b"\n", "not a line of JSON"),
        (b"[1]\n", "a JSON object expected, not list"),
        (b"null\n", "a JSON object expected, not NoneType"),
        (b'{"error_bound": 5}\n', "unknown key 'error_bound'; known: offset_ns, step_ns"),
        (b'{"offset_ns": 1.5}\n', "offset_ns: 1.5, an integer from"),
        (b'{"offset_ns": "1"}\n', "offset_ns: '1', an integer from"),
        (b'{"offset_ns": true}\n', "offset_ns: True, an integer from"),
        (b'{"offset_ns": NaN}\n', "offset_ns: nan, an integer from"),
        (b'{"offset_ns": 1%s}\n' % (b"0" * 40), "an integer from -1000000000000000000 to 1000000000000000000 expected"),
        (b'{"offset_ns": null}\n', "offset_ns: None, an integer from"),
        (b'{"frozen": 1}\n', "frozen: 1, true or false expected"),
        (b'{"mode": "odd"}\n', "mode: 'odd', one of ok, silent, err_ts, err_eb, err_both, late expected"),
        (b'{"mode": ["ok"]}\n', "mode: ['ok'], one of"),
        (
            b'{"rate_per_s": -1, "jitter_ns": -2}\n',
            "rate_per_s: -1, an integer from 0 to 1000000 expected; jitter_ns: -2",
        ),
        (b'{"step_ns": -1000000000000000000}\n{"step_ns": -1000000000000000000}\n', None),
        (b'{"request_reset": true}\n', "request_reset: no driver listens for it now"),
        (b'{"end_with": 4194304}\n', "end_with: no process 4194304 to end with"),
    ],
)
def test_lines_that_make_no_sense(socket_device: RunningDevice, line: bytes, error: str | None) -> None:
    reply = say(socket_device, line)
    if error is None:
        assert "error" not in reply
    else:
        assert reply.keys() == {"error"}
        assert error in reply["error"]
    assert socket_device.ask()["mode"] == "ok"


@pytest.mark.parametrize(("name", "key"), [(n, k) for n, k in KEYS.items() if hasattr(k, "low")])
def test_limits(name: str, key: Any) -> None:
    for value in (key.low, key.high):
        assert getattr(check({name: value}), name) == value
    for value in (key.low - 1, key.high + 1):
        with pytest.raises(Exception, match=f"{name}: {value}, an integer from {key.low} to {key.high} expected"):
            check({name: value})


def test_all_or_nothing(socket_device: RunningDevice) -> None:
    before = socket_device.ask()
    with pytest.raises(ControlError, match="nonsense"):
        socket_device.ask(mode="silent", jitter_ns=5, no_phc=True, nonsense=1)
    with pytest.raises(ControlError, match="the clock would show"):
        socket_device.ask(mode="silent", no_phc=True, step_ns=-(10**18), offset_ns=-(10**18))
    with pytest.raises(ControlError, match="end_with"):
        socket_device.ask(mode="silent", no_phc=True, end_with=2**22)
    after = socket_device.ask()
    assert {k: v for k, v in after.items() if k not in ("now_ns", "host_ns", "offset_ns")} == {
        k: v for k, v in before.items() if k not in ("now_ns", "host_ns", "offset_ns")
    }


def test_several_lines_on_one_connection(socket_device: RunningDevice) -> None:
    with dial(socket_device) as sock:
        replies = sock.makefile("rb")
        sock.sendall(b'{"mode": "late"}\n{"mode": "odd"}\n{"state"')
        assert json.loads(replies.readline())["mode"] == "late"
        assert "mode: 'odd'" in json.loads(replies.readline())["error"]
        sock.sendall(b": true}\n")
        assert json.loads(replies.readline())["mode"] == "late"


def test_line_without_end(socket_device: RunningDevice) -> None:
    with dial(socket_device) as sock:
        sock.sendall(b"x" * (MAX_LINE + 1))
        assert json.loads(sock.makefile("rb").readline()) == {"error": f"line of more than {MAX_LINE} bytes"}
        assert sock.recv(1) == b""


def test_silent_clients_stall_nobody(
    socket_device: RunningDevice, connect: Callable[[RunningDevice], ProgramDriver]
) -> None:
    silent = [dial(socket_device) for _ in range(3 * MAX_CLIENTS)]
    driver = connect(socket_device)
    driver.configure_phc()
    started = time.monotonic()
    assert driver.read_phc() is not None
    assert socket_device.ask()["asked"] == 1
    assert time.monotonic() - started < 1
    for sock in silent:
        sock.close()


def test_client_that_does_not_read_is_dropped(socket_device: RunningDevice) -> None:
    with dial(socket_device) as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # blocked, or dropped already
            for _ in range(100_000):
                sock.send(b'{"state": true}\n')
        assert socket_device.ask()["mode"] == "ok"


def test_client_gone_in_the_middle(socket_device: RunningDevice) -> None:
    for line in (b"", b'{"mode": "si', b'{"mode": "late"}\n'):
        sock = dial(socket_device)
        sock.sendall(line)
        sock.close()
    assert socket_device.ask(mode="ok")["mode"] == "ok"


def test_ask_says_why_it_failed(tmp_path: Any) -> None:
    path = str(tmp_path / "none.ctl")
    with pytest.raises(ControlError, match="No such file or directory"):
        ask(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(path)
        mute.listen()
        with pytest.raises(ControlError, match=r"no answer within 0\.2 s"):
            ask(path, timeout_s=0.2)
