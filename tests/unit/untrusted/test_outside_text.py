"""What people write passes one place: no text of a campaign or inventory becomes a template, an option or a path.

The strings of a campaign are found in its schema, so that a new key is held to this too.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.campaign import campaign, campaign_file
from harness.errors import CommandError, HarnessError, RequestError, redact_secrets
from harness.host import ssh
from harness.host.playbooks import PlayOutcome, Target, play
from harness.model import Machine
from harness.system.settings import assets_dir
from harness.untrusted import input_checks, names

Place = tuple[str, ...]
ITEM = "*"
"""Of a place: any one of a list."""

LOOKUP = "{{ lookup('ansible.builtin.pipe', 'touch CANARY') }}"
OPTION = "-oProxyCommand=touch CANARY"
HOSTILE = (
    LOOKUP, "{% set x = 1 %}", "{# x #}", OPTION, "--inventory=x", "../x", "a\nb", "a\x00b", "\x1b]52;c;AAAA\x07",
    "a\u202eb", "a\u200bb", "\ud800", "x" * 5000, "$(touch CANARY)", "`touch CANARY`", "a;touch CANARY", "a' b", 'a" b',
)  # fmt: skip
PATHS = {("inventory",), ("driver", "archive")}
TAKEN_AS_PATHS = {"../x", "$(touch CANARY)", "`touch CANARY`", "a;touch CANARY", "a' b", 'a" b'}
"""A file may be called so: no shell ever sees its name."""


def strings(schema: Mapping[str, Any], whole: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place of a campaign where a string may stand, with the schema of that string."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    for one in schema.get("anyOf", ()):
        yield from strings(one, whole, place)
    for key, inner in schema.get("properties", {}).items():
        yield from strings(inner, whole, (*place, key))
    if "items" in schema:
        yield from strings(schema["items"], whole, (*place, ITEM))
    if schema.get("type") == "string" or "enum" in schema:
        yield place, schema


SCHEMA = campaign_file.json_schema()
STRINGS = list(strings({key: SCHEMA[key] for key in ("properties",)}, SCHEMA))


def holding(place: Place, value: str) -> dict[str, Any]:
    """A campaign that is right but for one string."""
    bench = {"bench": "hosts", "inventory": "hosts.yaml"} if place[0] == "inventory" else {"bench": "ec2"}
    made: dict[str, Any] = {**bench, "instance_types": ["m7i.large"]}
    if place == ("driver", "archive"):
        made["driver"] = {"sha256": "a" * 64}
    inner = made
    keys = [key for key in place if key != ITEM]
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = [value] if ITEM in place else value
    return made


def test_the_walk_finds_the_strings_of_a_campaign() -> None:
    places = {place for place, _ in STRINGS}
    assert {
        ("inventory",),
        ("clock_names", ITEM),
        ("ec2", "user"),
        ("select", "family"),
        ("driver", "source"),
    } <= places
    assert len(places) > 25


@pytest.mark.parametrize(
    ("place", "schema"), STRINGS, ids=lambda value: ".".join(value) if type(value) is tuple else ""
)
def test_every_string_has_a_pattern_or_is_one_of_a_few_words(place: Place, schema: Mapping[str, Any]) -> None:
    assert {"pattern", "enum", "const"} & schema.keys()


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize("place", sorted({place for place, _ in STRINGS}), ids=".".join)
def test_no_string_of_a_campaign_is_a_template_an_option_or_more_than_a_name(place: Place, value: str) -> None:
    written = holding(place, value)
    if place in PATHS and value in TAKEN_AS_PATHS:
        campaign.from_mapping(written)
        return
    for words, flags in ((written, {}), ({"instance_types": ["m7i.large"]}, written)):
        with pytest.raises(RequestError) as refused:
            campaign.from_mapping(words, flags=flags)
        key = ".".join(key for key in place if key != ITEM)
        assert key in refused.value.message or f"--{place[-1]}" in refused.value.message
        assert refused.value.message.isprintable()
        assert len(refused.value.message) < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "schema"),
    [(place, schema) for place, schema in STRINGS if "pattern" in schema],
    ids=lambda value: ".".join(value) if type(value) is tuple else "",
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_pattern_lets_through_is_no_option_and_no_template(
    place: Place, schema: Mapping[str, Any], data: st.DataObject
) -> None:
    text = data.draw(st.from_regex(schema["pattern"].removesuffix("$") + r"\Z"))
    assert not text.startswith("-") or place[0] == "select", "patterns of types are only compared"
    assert not any(mark in text for mark in names.TEMPLATE_MARKS)
    assert not set(text) & set("\n\r\0")


def test_keys_are_held_to_it_too() -> None:
    for key in (LOOKUP, "a\nb", "x" * 200):
        with pytest.raises(RequestError) as refused:
            campaign.from_mapping({"instance_types": ["a"], "limits": {key: {"max": 1}}})
        assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "text",
    ["ena-ptp-*", "0e*", "0e:11:22:33:44:55", "mlx5_ptp", "KVM virtual PTP", "ptp[0-3]", "[!e]*", "igb-*", "hyperv"],
)
def test_clocks_are_really_called_so(text: str) -> None:
    assert campaign.from_mapping({"instance_types": ["a"], "clock_names": [text]}).clock_names == (text,)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("ec2", "owner"), "Jörg Müller (R&D)"),
        (("ec2", "owner"), "time-team@example.org"),
        (("ec2", "instance_profile"), "Session+Manager=1,x.y@z"),
        (("ec2", "zones", ITEM), "us-west-2-lax-1a"),
        (("placement",), "group:My group (old)"),
        (("image",), "ami-0123456789abcdef0"),
        (("image",), "baked:al2023-ena@k3f9"),
        (("driver", "archive"), "/srv/My drivers/ena_linux_2.17.0.tar.gz"),
        (("driver", "archive"), "https://drivers.example/ena.tar.gz?X-Amz-Date=1&X-Amz-Signature=0a"),
        (("driver", "archive"), "~/ena@2.17.tar.gz"),
        (("inventory",), "../hosts.yaml"),
        (("region",), "us-gov-west-1"),
    ],
)
def test_honest_values_are_taken(place: Place, value: str) -> None:
    campaign.from_mapping(holding(place, value))


@pytest.mark.parametrize("url", ["https://ada:CANARY@host.example/ena.tgz", "https://CANARY@host.example/ena.tgz"])
def test_a_url_with_a_password_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(RequestError, match=r"driver\.archive: holds a user or password") as refused:
        campaign.from_mapping(holding(("driver", "archive"), url))
    assert "CANARY" not in str(refused.value)


# --- and where one came through, Ansible takes it as it is ----------------------------------------------------------


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def lookup(canary: Path) -> str:
    return f"{{{{ lookup('ansible.builtin.pipe', 'touch {canary}') }}}}"


@pytest.fixture
def target(silent_machine: Machine, tmp_path: Path) -> Target:
    return Target(machine=silent_machine, known_hosts=tmp_path / "known_hosts", control=tmp_path / "control")


def roles_options() -> dict[str, Mapping[str, Any]]:
    """Every variable of the roles, with its specification."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in (assets_dir() / "roles").glob("*/meta/argument_specs.yml"):
        found |= yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"]
    return found


@pytest.mark.programs
@pytest.mark.parametrize("playbook", ["configure.yml", "measure.yml", "observe.yml"])
def test_no_variable_of_the_roles_is_a_template(target: Target, canary: Path, playbook: str) -> None:
    """All of them, which their specifications refuse; then those that may be any text, so that tasks take them."""
    text = lookup(canary)
    every = {name: [text] if option["type"] == "list" else text for name, option in roles_options().items()}
    free = [name for name, option in roles_options().items() if option["type"] in ("str", "path", "list")]
    words = {name: every[name] for name in free if "choices" not in roles_options()[name]}
    assert len(words) > 10
    for variables in (every, words):
        play(
            assets_dir() / "playbooks" / playbook,
            target,
            variables,
            timeout_s=120,
            progress=lambda _: None,
            cancelled=lambda: False,
        )
        assert not canary.exists()


AGAIN = """
- hosts: all
  gather_facts: false
  vars: {inner: "{{ outside }}", listed: ["{{ outside }}"], mapped: {a: "{{ outside }}"}}
  tasks:
    - ansible.builtin.set_fact: {again: "{{ outside }}", within: "{{ tree.deep[0].text }}"}
    - ansible.builtin.debug: {msg: "{{ again }} {{ inner }} {{ listed | first }} {{ mapped.a }} {{ within }}"}
    - ansible.builtin.debug: {msg: "{{ item }}"}
      loop: "{{ [outside, again] | map('regex_replace', '^', 'x') | list }}"
      when: outside != 'x' and again is search('lookup')
    - ansible.builtin.debug: {msg: "{{ lookup('ansible.builtin.template', 'again.j2') }}"}
    - ansible.builtin.command: {argv: [printf, '%s', "{{ again }}"]}
      delegate_to: localhost
      register: printed
      vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
    - ansible.builtin.debug: {msg: "{{ printed.stdout }}"}
    - name: Tell
      ansible.builtin.fail: {msg: "{{ printed.stdout }}"}
"""


@pytest.mark.programs
def test_a_text_stays_as_it_is_where_a_play_hands_it_on(target: Target, canary: Path, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook = tmp_path / "playbooks" / "again.yml"
    (playbook.parent / "templates").mkdir(parents=True)
    playbook.write_text(AGAIN)
    (playbook.parent / "templates" / "again.j2").write_text("{{ again }}")
    text = lookup(canary)
    variables = {"outside": text, "tree": {"deep": ({"text": text, "number": 1, "none": None, "true": True},)}}
    done = play(playbook, target, variables, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)
    assert (done.outcome, done.message) == (PlayOutcome.FAILED, f"task 'Tell': {text}")
    assert not canary.exists()


@pytest.mark.programs
def test_what_a_machine_says_of_itself_is_no_template(target: Target, canary: Path) -> None:
    text = lookup(canary)
    machine = replace(target.machine, private_key=f"/k{text}", ssh_options=("-o", f"IdentityFile={text}"))
    hostile = replace(target, machine=machine, known_hosts=Path(f"/h{text}"))
    play(
        assets_dir() / "playbooks/observe.yml",
        hostile,
        {},
        timeout_s=60,
        progress=lambda _: None,
        cancelled=lambda: False,
    )
    assert not canary.exists()


@pytest.mark.parametrize(
    "changes",
    [{name: value} for name in ("user", "address") for value in (LOOKUP, OPTION, "a b", "", "ssh://x", "a\nb")],
    ids=ascii,
)
def test_a_user_or_address_that_is_no_name_reaches_neither_ssh_nor_ansible(
    target: Target, changes: dict[str, str]
) -> None:
    hostile = replace(target, machine=replace(target.machine, **changes))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="is not a valid name for ssh"):
        hostile.command("true")
    observe = assets_dir() / "playbooks/observe.yml"
    with pytest.raises(HarnessError, match="is not a valid name for ssh"):
        play(observe, hostile, {}, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)


# --- words for a shell on the host ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=4)
)
@example(words=["h;touch pwn", "$(touch pwn)", "`touch pwn`", "a' b", 'a" b', "*", "~", "", "-rf", "a\nb", "\\"])
def test_a_shell_on_the_host_sees_each_word_as_it_is(target: Target, words: list[str]) -> None:
    """ssh(1) joins the words behind the destination by blanks, and the host's shell reads them."""
    argv = target.command("printf", r"%s\0", *words)
    joined = " ".join(argv[argv.index("--") + 2 :])
    said = subprocess.run(["sh", "-c", joined], capture_output=True, check=True).stdout
    assert said == "".join(f"{word}\0" for word in words or [""]).encode()


def test_root_s_words_are_quoted_too(target: Target) -> None:
    admin = replace(target, machine=replace(target.machine, user="admin"))
    assert target.as_root("rm", "-f", "/run/h;touch pwn")[-1] == "rm -f '/run/h;touch pwn'"
    assert admin.as_root("rm", "-f", "/run/h;touch pwn")[-1] == "sudo -n rm -f '/run/h;touch pwn'"


# --- what is told of a command line ---------------------------------------------------------------------------------


def test_what_is_told_of_a_failed_ssh_holds_no_option(silent_machine: Machine, tmp_path: Path) -> None:
    proxied = replace(
        silent_machine, ssh_options=("-o", "ProxyCommand=sshpass -p CANARY ssh -W %h:%p jump", "-iCANARY")
    )
    argv = ssh.build_command(proxied, tmp_path, "cat /x")
    error = CommandError(argv, 255, "", "Connection refused", after_s=1)
    assert str(error) == "ssh ended with status 255: Connection refused (command: ssh ... -- root@127.0.0.1 cat /x)"
    for program in ("ssh", "/usr/bin/scp", "sftp"):
        assert "CANARY" not in redact_secrets([program, *ssh.build_options(proxied, tmp_path)])


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["pulumi", "--token", "CANARY", "up"], "pulumi --token ... up"),
        (["x", "--db-password=CANARY", "-y"], "x --db-password=... -y"),
        (["x", "https://ada:CANARY@host/p?sig=CANARY"], "x https://...host/p..."),
        (["ssh-keygen", "-F", "host"], "ssh-keygen -F host"),
        (["qemu-img", "create", "a?b"], "qemu-img create a?b"),
    ],
)
def test_what_is_told_of_other_programs(argv: list[str], told: str) -> None:
    assert redact_secrets(argv) == told


# --- argv lint: a whole run, with every program that speaks SSH written down ----------------------------------------

WRAPPER = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, str]:
    """Where command lines of ssh, scp and ssh-keygen are written down, and the PATH on which that happens."""
    log, folder = tmp_path / "argv", tmp_path / "bin"
    folder.mkdir()
    log.touch()
    for name in ("ssh", "scp", "ssh-keygen"):
        real = shutil.which(name)
        assert real is not None
        (folder / name).write_text(WRAPPER.format(python=sys.executable, log=str(log), real=real))
        (folder / name).chmod(0o755)
    return log, f"{folder}{os.pathsep}{os.environ['PATH']}"


def run_on(tmp_path: Path, path: str, hosts: Mapping[str, object]) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts}}))
    env = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "PTP_HARNESS_SSH_TRIES": "1", "PATH": path}
    argv = [sys.executable, "-m", "harness", "run", "--inventory", "hosts.yaml", "all", "--read-only", "--json"]
    return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)


def elements(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.programs
def test_what_an_inventory_says_stands_behind_the_end_of_options_or_as_an_option_s_value(
    tmp_path: Path, recorded: tuple[Path, str], silent_machine: Machine
) -> None:
    log, path = recorded
    (tmp_path / "markknown").write_text(f"[localhost]:{silent_machine.port} {KEY}\n")
    (tmp_path / "markkey").write_text("")
    told = {
        "ansible_host": "localhost",
        "ansible_user": "markuser",
        "ansible_port": silent_machine.port,
        "ansible_ssh_private_key_file": str(tmp_path / "markkey"),
        "ptp_harness_known_hosts": str(tmp_path / "markknown"),
    }
    done = run_on(tmp_path, path, {"markhost": told})
    assert "unreachable" in done.stdout, done.stderr
    spoken = elements(log)
    assert {Path(argv[0]).name for argv in spoken} == {"ssh", "ssh-keygen"}
    for argv in spoken:
        for before, word in pairwise(argv):
            if "mark" in word and "--" not in argv[: argv.index(word)]:
                assert before in ("-o", "-f"), argv
    assert any(argv[-3:-1] == ["--", "markuser@localhost"] for argv in spoken)


SPOKEN = ("ansible_host", "ansible_user", "ansible_port", "ansible_ssh_private_key_file", "ptp_harness_known_hosts")


@pytest.mark.programs
def test_no_element_of_a_command_line_that_an_inventory_says_is_an_option(
    tmp_path: Path, recorded: tuple[Path, str]
) -> None:
    texts = ("-oProxyCommand=touch canary", "{{ lookup('pipe', 'touch canary') }}", "canary\nx")
    wrong = {f"h{number}": (name, text) for number, (name, text) in enumerate(product(SPOKEN, texts))}
    wrong["role"] = ("chrony_phc_second_opinion_address", texts[1])
    hosts = {host: {"ansible_host": "127.0.0.1", name: text} for host, (name, text) in wrong.items()}
    done = run_on(tmp_path, recorded[1], hosts)
    told = {host["name"]: host for host in json.loads(done.stdout)["hosts"]}
    assert told.keys() == wrong.keys()
    for host, (name, _) in wrong.items():
        assert told[host]["reason"] == "launch_failed"
        assert f"its {'variable ' if host == 'role' else ''}{name} " in told[host]["sentence"]
    assert elements(recorded[0]) == []
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.programs
def test_a_host_whose_name_is_more_than_a_name_is_refused(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    hosts = ("../../x", "-oProxyCommand=touch canary", "h;touch canary", ".hidden", "a/b")
    done = run_on(tmp_path, recorded[1], {name: {"ansible_host": "127.0.0.1"} for name in hosts})
    assert (done.returncode, done.stdout) == (2, "")
    assert "the inventory hosts.yaml has " in done.stderr
    assert "which cannot name a host" in done.stderr
    assert [name for name in hosts if repr(name) not in done.stderr] == []
    assert elements(recorded[0]) == []


@pytest.mark.programs
def test_no_password_of_an_inventory_s_ssh_arguments_is_told_or_kept(
    tmp_path: Path, recorded: tuple[Path, str]
) -> None:
    (tmp_path / "known").write_text(f"127.0.0.1 {KEY}\n")
    told = {
        "ansible_host": "127.0.0.1",
        "ptp_harness_known_hosts": str(tmp_path / "known"),
        "ansible_ssh_common_args": "-o 'ProxyCommand=sh -c \"exit 1\" CANARY'",
    }
    done = run_on(tmp_path, recorded[1], {"a": told})
    assert any("CANARY" in word for argv in elements(recorded[0]) for word in argv), "it was used"
    assert "CANARY" not in done.stdout + done.stderr
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if b"CANARY" in path.read_bytes()] == []
    assert [path for path in kept if path.stat().st_mode & 0o077] == [], "and for its user alone"


# --- the checks themselves ------------------------------------------------------------------------------------------


def nested(depth: int) -> object:
    tree: object = "x"
    for _ in range(depth):
        tree = [tree]
    return tree


def test_a_tree_too_deep_or_too_large_is_refused_at_once() -> None:
    assert input_checks.describe_unfit_text({"a": nested(7)}) == []
    assert "nested too deeply" in input_checks.describe_unfit_text({"a": nested(5000)})[0]
    assert input_checks.describe_unfit_text({"a": ["x"] * 30_000}) == ["more than 20000 values"]
    assert len(input_checks.describe_unfit_text({"a": ["\n"] * 30_000})) == input_checks.MOST_MISTAKES


@pytest.mark.parametrize("made", [lambda: nested(5000), lambda: "x" * 10**6, lambda: ["x"] * 10**6, lambda: 16**5000])
def test_no_value_is_told_at_length(made: Callable[[], object]) -> None:
    assert len(input_checks.shorten_value(made())) < 400
